//! Earlier work like a ticket's, read once its page is there.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::format::When;
use super::shell::render;
use super::view::TicketView;
use crate::app::{App, ticket_id};
use crate::extract::ApiPath;
use crate::problem::Problem;
use crate::routes::earlier::{like, resolution};

#[derive(Template)]
#[template(path = "earlier.html")]
struct Earlier {
    earlier: Vec<EarlierView>,
}

/// Earlier work: what was found and done.
struct EarlierView {
    ticket: TicketView,
    same_asset: bool,
    resolved: Option<When>,
    done: String,
}

pub(crate) async fn part(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, Problem> {
    let ticket = app.state.store.ticket(ticket_id(&id)?).await?;
    let now = app.state.clock.now();
    let assets = app.state.store.assets().await?;
    let found = like(&app, &ticket, &assets).await?;
    let earlier = found.iter().map(|old| {
        let of = assets.iter().find(|a| a.id == old.asset);
        let resolved = resolution(old);
        EarlierView {
            ticket: TicketView::new(&app.state.catalogue, of, now, old),
            same_asset: old.asset == ticket.asset,
            resolved: resolved.map(|(at, _)| When::new(now, at)),
            done: resolved.map_or(String::new(), |(_, why)| why.to_owned()),
        }
    });
    let earlier = Earlier {
        earlier: earlier.collect(),
    };
    Ok(render(&earlier))
}
