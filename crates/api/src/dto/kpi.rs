//! Figures and what is behind them.

use forecare_care::kpi::{Figure, ParetoLine};
use forecare_domain::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Figures of a span of time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Kpis)]
pub(crate) struct KpisDto {
    /// Begin.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// End.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: Timestamp,
    /// In which amounts of money are.
    pub(crate) currency: String,
    /// True: there are more tickets than are counted, the newest 100,000 are.
    pub(crate) is_cut: bool,
    /// Of everything asked about.
    pub(crate) figures: Vec<FigureDto>,
    /// Told apart by the dimensions in `by`, each with its groups by name.
    pub(crate) dimensions: Vec<DimensionDto>,
}

/// Figures told apart by one dimension.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KpiDimension)]
pub(crate) struct DimensionDto {
    /// The dimension, such as `site`.
    pub(crate) dimension: &'static str,
    /// Its groups.
    pub(crate) groups: Vec<GroupDto>,
}

/// Figures of one group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KpiGroup)]
pub(crate) struct GroupDto {
    /// Its name; empty: what has none.
    pub(crate) name: String,
    /// Its figures.
    pub(crate) figures: Vec<FigureDto>,
}

/// A figure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KpiFigure)]
pub(crate) struct FigureDto {
    /// Its name, such as `first_time_fix`.
    pub(crate) key: &'static str,
    /// What people call it.
    pub(crate) title: &'static str,
    /// `count`, `hours`, `share` (0 to 1), `money`, `points`.
    pub(crate) unit: &'static str,
    /// How it is counted.
    pub(crate) meaning: &'static str,
    /// The value; null: nothing is known.
    pub(crate) value: Option<f64>,
    /// How many entries it is counted from.
    pub(crate) n: usize,
    /// Entries of which it is not known yet: they count neither for nor against.
    pub(crate) n_unknown: usize,
}

impl From<&Figure> for FigureDto {
    fn from(figure: &Figure) -> Self {
        Self {
            key: figure.kind.key,
            title: figure.kind.title,
            unit: figure.kind.unit.label(),
            meaning: figure.kind.meaning,
            value: figure.value,
            n: figure.n,
            n_unknown: figure.n_unknown,
        }
    }
}

/// The tickets behind a figure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KpiTickets)]
pub(crate) struct FigureTicketsDto {
    /// The figure.
    pub(crate) figure: FigureDto,
    /// The numbers of its tickets; of a share, of those that count for it.
    pub(crate) tickets: Vec<i64>,
}

/// Which faults come most often.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pareto)]
pub(crate) struct ParetoDto {
    /// Begin.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Timestamp,
    /// End.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: Timestamp,
    /// In which costs are.
    pub(crate) currency: String,
    /// By what faults are told apart: the names of `group`'s entries.
    pub(crate) by: Vec<&'static str>,
    /// The most frequent first.
    pub(crate) lines: Vec<ParetoLineDto>,
}

/// Faults of one kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParetoLine)]
pub(crate) struct ParetoLineDto {
    /// What they have in common; empty where it is not known.
    pub(crate) group: Vec<String>,
    /// How many.
    pub(crate) n: usize,
    /// Of these, machines that failed; the others were found before.
    pub(crate) n_failures: usize,
    /// What they cost, as far as it is known.
    pub(crate) cost: f64,
    /// Hours that machines stood.
    pub(crate) downtime_hours: f64,
    /// Share of all faults in this line and those before it, 0 to 1.
    pub(crate) cumulative: f64,
    /// Their tickets.
    pub(crate) tickets: Vec<i64>,
}

impl From<ParetoLine> for ParetoLineDto {
    fn from(line: ParetoLine) -> Self {
        Self {
            group: line.group,
            n: line.n,
            n_failures: line.n_failures,
            cost: line.cost,
            downtime_hours: line.downtime_hours,
            cumulative: line.cumulative,
            tickets: line.tickets.into_iter().map(|t| t.0).collect(),
        }
    }
}
