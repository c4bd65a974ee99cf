//! The rules of automation, and what they did.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::format::When;
use super::shell::{Shell, render};
use crate::app::{App, Caller};

#[derive(Template)]
#[template(path = "automation.html")]
struct AutomationPage {
    shell: Shell,
    rules: Vec<RuleView>,
}

struct RuleView {
    name: String,
    on: String,
    trigger: String,
    conditions: Vec<String>,
    does: Vec<String>,
    /// What came of it: words, how often, tone.
    results: Vec<(String, u64, &'static str)>,
    last: Option<When>,
}

pub(crate) async fn page(State(app): State<App>, Extension(caller): Extension<Caller>) -> Response {
    let now = app.state.clock.now();
    let rules = (app.state.automation)();
    let rules = rules.into_iter().map(|rule| RuleView {
        name: rule.name,
        on: rule.on,
        trigger: rule.trigger,
        conditions: rule.conditions,
        does: rule.does,
        results: rule
            .results
            .into_iter()
            .map(|r| {
                let tone = match r.result.as_str() {
                    "done" => "good",
                    "failed" => "critical",
                    _ => "plain",
                };
                (format!("{} {}", r.action, r.result), r.n, tone)
            })
            .collect(),
        last: rule.last_at.map(|at| When::new(now, at)),
    });
    render(&AutomationPage {
        shell: Shell::new(&app, &caller, "automation"),
        rules: rules.collect(),
    })
}
