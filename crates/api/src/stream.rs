//! Server-sent events: bounded, never in the way of the sender.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use forecare_domain::AlarmId;
use futures_util::StreamExt;
use serde::Serialize;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use utoipa::ToSchema;

use crate::app::App;
use crate::dto::{AlarmChangeDto, HealthDto, ReservationDto, TicketDto};
use crate::problem::Problem;
use crate::state::StreamEvent;

/// Readers of the stream at the same time.
pub(crate) const READERS_MAX: usize = 256;
/// A comment line this often keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events missed by a reader that was too slow.
#[derive(Serialize, ToSchema)]
pub(crate) struct LaggedDto {
    /// Number of events missed: read the lists again.
    n_missed: u64,
}

fn event<T: Serialize>(name: &str, body: &T) -> Event {
    Event::default()
        .event(name)
        .json_data(body)
        .unwrap_or_else(|error| {
            tracing::error!(%error, "event cannot be written as JSON");
            Event::default().comment("unwritable")
        })
}

async fn to_sse(app: &App, received: Result<StreamEvent, BroadcastStreamRecvError>) -> Event {
    match received {
        Ok(StreamEvent::Alarm(change)) => {
            let mut change = AlarmChangeDto::from(change);
            // Who reports changes does not know who has seen the episode; the store does.
            match app
                .state
                .store
                .alarm(&AlarmId(change.alarm.id.clone()))
                .await
            {
                Ok(stored) => change.alarm.acknowledged = stored.acknowledged,
                Err(error) => tracing::warn!(%error, "alarm on the stream not looked up"),
            }
            event("alarm", &change)
        }
        Ok(StreamEvent::Ticket(ticket)) => event("ticket", &TicketDto::from(&*ticket)),
        Ok(StreamEvent::Reservation(r)) => event("reservation", &ReservationDto::from(r)),
        Ok(StreamEvent::Health(health)) => event("health", &HealthDto::from(health)),
        Err(BroadcastStreamRecvError::Lagged(n_missed)) => event("lagged", &LaggedDto { n_missed }),
    }
}

/// Live events, as they happen
///
/// Event types: `alarm` (a change of an alarm episode), `ticket`, `reservation`, `health` (throttled) and
/// `lagged` (the reader was too slow and missed some). The data is JSON. Nothing is replayed: read the
/// lists after connecting.
#[utoipa::path(
    get,
    path = "/api/v1/stream",
    tag = "stream",
    responses(
        (status = 200, description = "server-sent events", content_type = "text/event-stream", body = String)
    )
)]
pub(crate) async fn stream(State(app): State<App>) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&app.stream_places).try_acquire_owned() else {
        return Err(Problem::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            format!("{READERS_MAX} readers are on the stream already"),
        ));
    };
    let mut closing = app.closing.clone();
    let closed = async move {
        // An error means that nobody is left who could close: then the stream lives on.
        if closing.wait_for(|closing| *closing).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let events = BroadcastStream::new(app.state.stream.subscribe())
        .take_until(Box::pin(closed))
        .then(move |received| {
            let app = app.clone();
            let _held_while_streaming = &place;
            async move { Ok::<_, Infallible>(to_sse(&app, received).await) }
        });
    // The first bytes go out at once: a reader knows that it is connected.
    let hello = futures_util::stream::once(async {
        Ok(Event::default()
            .comment("connected")
            .retry(Duration::from_secs(2)))
    });
    Ok(Sse::new(hello.chain(events))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}
