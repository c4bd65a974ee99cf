//! The console: pages rendered here, kept live over the event stream.

mod alarms;
mod answer;
mod article_edit;
mod asset;
mod automation;
mod classify;
mod conversation;
mod customers;
mod dispatch;
mod earlier;
mod fleet;
mod for_whom;
mod form;
mod format;
mod help;
mod inbox;
mod knowledge;
mod kpis;
mod login;
mod markdown;
mod new_ticket;
mod notices;
mod parts;
mod plan;
mod registry;
mod shell;
mod static_files;
mod supply;
mod tickets;
mod trace;
mod units;
mod view;
mod visit;
mod work;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::app::App;
use crate::auth::ANSWER_BYTES_MAX;
use crate::routes::files;

pub(crate) use shell::error_page;

/// The console's pages and what their forms post to.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(fleet::page))
        .route("/assets/{id}", get(asset::page))
        .route(
            "/assets/{id}/maintenance-windows",
            post(asset::set_maintenance),
        )
        .route("/alarms", get(alarms::page))
        .route("/alarms/acknowledge", post(alarms::acknowledge))
        .route("/tickets", get(tickets::page))
        .route("/plan", get(plan::page))
        .route("/tickets/new", get(new_ticket::page).post(new_ticket::open))
        .route("/tickets/{id}", get(tickets::detail))
        .route("/tickets/{id}/transitions", post(tickets::transition))
        .route("/tickets/{id}/earlier", get(earlier::part))
        .route("/tickets/{id}/work", post(work::work))
        .route("/tickets/{id}/assignment", post(dispatch::assign))
        .route("/tickets/{id}/slots", get(dispatch::slots))
        .route("/parts", get(parts::page))
        .route("/parts/movements", post(parts::movement))
        .route("/parts/supply", get(supply::page))
        .route("/parts/units", get(units::page))
        .route("/parts/supply.csv", get(supply::csv))
        .route("/parts/orders", post(supply::put_order))
        .route("/customers", get(customers::list))
        .route("/customers/{id}", get(customers::page))
        .route("/registry", get(registry::first))
        .route("/registry/{kind}", get(registry::list).post(registry::save))
        .route("/registry/{kind}/new", get(registry::new))
        .route("/registry/{kind}/{id}", get(registry::edit))
        .route("/automation", get(automation::page))
        .route("/inbox", get(inbox::page))
        .route("/inbox/{id}", post(inbox::settle))
        .route("/deliveries", get(notices::page))
        .route("/deliveries/retry", post(notices::retry))
        .route(
            "/answer/{token}",
            get(answer::page)
                .post(answer::answer)
                .layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX)),
        )
        .route("/kpis", get(kpis::page))
        .route("/kpis/{key}", get(kpis::behind))
        .route("/help", get(help::list))
        .route("/help/{id}", get(help::page))
        .route("/help/files/{sha256}", get(help::file))
        .route("/files/{sha256}", get(files::file))
        .route("/knowledge", get(knowledge::list))
        .route("/knowledge/new", get(article_edit::new))
        .route("/knowledge/save", post(article_edit::save))
        .route("/knowledge/{id}", get(knowledge::page))
        .route("/knowledge/{id}/edit", get(article_edit::edit))
        .route("/knowledge/{id}/versions", get(article_edit::versions))
        .route("/tickets/{id}/article", post(knowledge::propose))
        .route("/trace/{id}", get(trace::page))
        .route("/login", get(login::page).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/static/{*path}", get(static_files::file))
}
