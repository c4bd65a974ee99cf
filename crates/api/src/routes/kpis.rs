//! What the service achieves: figures, the tickets behind them, the most frequent faults.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use forecare_care::kpi::{Dimension, Figure, Period, Scope, by, figures, pareto};

use crate::app::{App, cut};
use crate::dto::{
    DimensionDto, FigureDto, FigureTicketsDto, GroupDto, KpisDto, ParetoDto, ParetoLineDto,
};
use crate::extract::{ApiPath, ApiQuery};
use crate::outcomes::{OutcomeParams, Outcomes, counted};
use crate::problem::Problem;

/// What the service achieves, counted from what happened to its tickets
///
/// Every figure says how it is counted, from how many entries, and of how many it is not known yet. The CSV has a line
/// per dimension, group and figure.
#[utoipa::path(get, path = "/api/v1/kpis", tag = "kpis", params(OutcomeParams),
    responses((status = 200, description = "the figures", content(
        (KpisDto = "application/json"), (String = "text/csv")))))]
pub(crate) async fn kpis(
    State(app): State<App>,
    ApiQuery(params): ApiQuery<OutcomeParams>,
) -> Result<Response, Problem> {
    let period = params.period(app.state.clock.now())?;
    let (dimensions, as_csv) = (params.dimensions()?, params.wants_csv()?);
    let currency = app.state.catalogue.currency.clone();
    let all = counted(&app, move |outcomes| {
        let scope = outcomes.scope(&params.wanted());
        let shown = |scope: &Scope<'_>| -> Vec<FigureDto> {
            let found = figures(scope, &outcomes.links, period);
            found.iter().map(FigureDto::from).collect()
        };
        let dimensions = dimensions.into_iter().map(|dimension| DimensionDto {
            dimension: dimension.label(),
            groups: by(&scope, dimension)
                .into_iter()
                .map(|(name, group)| GroupDto {
                    name,
                    figures: shown(&group),
                })
                .collect(),
        });
        KpisDto {
            from: period.from,
            to: period.to,
            currency,
            is_cut: outcomes.is_cut,
            figures: shown(&scope),
            dimensions: dimensions.collect(),
        }
    });
    let all = all.await?;
    if as_csv {
        Ok(file("kpis", &kpis_csv(&all)))
    } else {
        Ok(Json(all).into_response())
    }
}

fn kpis_csv(all: &KpisDto) -> String {
    let mut lines = vec!["dimension,group,figure,unit,value,n,n_unknown".to_owned()];
    let mut add = |dimension: &str, group: &str, figures: &[FigureDto]| {
        for f in figures {
            lines.push(format!(
                "{},{},{},{},{},{},{}",
                dimension,
                field(group),
                f.key,
                f.unit,
                f.value.map_or_else(String::new, |v| v.to_string()),
                f.n,
                f.n_unknown
            ));
        }
    };
    add("", "", &all.figures);
    for dimension in &all.dimensions {
        for group in &dimension.groups {
            add(dimension.dimension, &group.name, &group.figures);
        }
    }
    lines.join("\r\n") + "\r\n"
}

/// The tickets behind a figure
#[utoipa::path(get, path = "/api/v1/kpis/{key}/tickets", tag = "kpis",
    params(("key" = String, Path, description = "the figure, such as first_time_fix"), OutcomeParams),
    responses((status = 200, description = "the tickets", body = FigureTicketsDto)))]
pub(crate) async fn figure_tickets(
    State(app): State<App>,
    ApiPath(key): ApiPath<String>,
    ApiQuery(params): ApiQuery<OutcomeParams>,
) -> Result<Json<FigureTicketsDto>, Problem> {
    let found = figure(&app, &key, &params).await?;
    Ok(Json(FigureTicketsDto {
        figure: FigureDto::from(&found),
        tickets: found.tickets.iter().map(|t| t.0).collect(),
    }))
}

/// The figure of that name.
pub(crate) async fn figure(
    app: &App,
    key: &str,
    params: &OutcomeParams,
) -> Result<Figure, Problem> {
    let period = params.period(app.state.clock.now())?;
    let params = params.clone();
    let found = counted(app, move |outcomes| {
        let scope = outcomes.scope(&params.wanted());
        figures(&scope, &outcomes.links, period)
    });
    found
        .await?
        .into_iter()
        .find(|f| f.kind.key == key)
        .ok_or_else(|| Problem::not_found(format_args!("figure \"{}\"", cut(key, 64))))
}

/// The most frequent faults, for engineering
///
/// Faults that technicians have found, by failure mode and model where `by` says nothing else, the most frequent first
/// with the share of all that they and those before them make up.
#[utoipa::path(get, path = "/api/v1/faults/pareto", tag = "kpis", params(OutcomeParams),
    responses((status = 200, description = "the faults", content(
        (ParetoDto = "application/json"), (String = "text/csv")))))]
pub(crate) async fn fault_pareto(
    State(app): State<App>,
    ApiQuery(params): ApiQuery<OutcomeParams>,
) -> Result<Response, Problem> {
    let period = params.period(app.state.clock.now())?;
    let as_csv = params.wants_csv()?;
    let mut dimensions = params.dimensions()?;
    if dimensions.is_empty() {
        dimensions = vec![Dimension::Mode, Dimension::Model];
    }
    let currency = app.state.catalogue.currency.clone();
    let all = counted(&app, move |outcomes| {
        faults(outcomes, &params, &dimensions, period, currency)
    });
    let all = all.await?;
    if as_csv {
        Ok(file("faults", &pareto_csv(&all)))
    } else {
        Ok(Json(all).into_response())
    }
}

/// The faults of a period, the most frequent first.
pub(crate) fn faults(
    outcomes: &Outcomes,
    params: &OutcomeParams,
    dimensions: &[Dimension],
    period: Period,
    currency: String,
) -> ParetoDto {
    let scope = outcomes.scope(&params.wanted());
    let lines = pareto(scope.cases, dimensions, period);
    ParetoDto {
        from: period.from,
        to: period.to,
        currency,
        by: dimensions.iter().map(|d| d.label()).collect(),
        lines: lines.into_iter().map(ParetoLineDto::from).collect(),
    }
}

fn pareto_csv(all: &ParetoDto) -> String {
    let mut lines = vec![format!(
        "{},n,n_failures,cost_{},downtime_hours,cumulative_share",
        all.by.join(","),
        all.currency.to_lowercase()
    )];
    for line in &all.lines {
        let group: Vec<String> = line.group.iter().map(|g| field(g)).collect();
        lines.push(format!(
            "{},{},{},{},{},{}",
            group.join(","),
            line.n,
            line.n_failures,
            line.cost,
            line.downtime_hours,
            line.cumulative
        ));
    }
    lines.join("\r\n") + "\r\n"
}

/// A field of a CSV file (RFC 4180). One that a spreadsheet would take for a formula becomes a text.
fn field(text: &str) -> String {
    let harmless = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if harmless.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", harmless.replace('"', "\"\""))
    } else {
        harmless
    }
}

fn file(name: &str, text: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}.csv\""),
        ),
    ];
    (headers, text.to_owned()).into_response()
}
