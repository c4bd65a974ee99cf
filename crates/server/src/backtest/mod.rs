//! A policy tried on stored history: the monitors and the care desk of the service, in simulated time.

mod book;
mod charts;
mod crew;
mod device;
mod history;
mod html;
mod interval;
mod policy;
mod report;
mod table;
mod tally;
mod truth;
mod world;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use forecare_catalogue::Catalogue;
use forecare_domain::Timestamp;
use forecare_store::Store;
use tokio::runtime::Runtime;

pub(crate) use html::page;
pub(crate) use policy::{Basis, POLICY_TOML, Policy};
pub(crate) use report::Report;
pub(crate) use table::table;

use history::{Records, Tapes};
use report::{PolicyReport, TruthReport};
use truth::{Sources, Truth};
use world::{Given, World};

/// Days of readings before the period that detectors learn from.
pub(crate) const WARM_UP_DAYS: f64 = 30.0;

/// From, inclusive, to, exclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Period {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// What to try on what.
pub(crate) struct Setup<'a> {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) policies: &'a [Policy],
    pub(crate) period: Period,
    pub(crate) warm_up_days: f64,
    pub(crate) failures: Option<&'a Path>,
    pub(crate) failure_codes: &'a [String],
    pub(crate) right_within_hours: Option<f64>,
    pub(crate) n_threads: usize,
    /// Rows of all devices held in memory, about; `None`: the default.
    pub(crate) rows_held: Option<usize>,
}

/// Tries the policies, all on the same stretch of history before the next is read. `progress` hears the instant that is
/// reached and the rows scored.
///
/// # Errors
/// The store does not answer, the failures file cannot be used, nothing is stored.
pub(crate) fn backtest(
    setup: &Setup<'_>,
    runtime: &Runtime,
    mut progress: impl FnMut(Timestamp, u64),
) -> Result<Report> {
    let period = setup.period;
    let read = Records::read(setup.store.as_ref(), setup.catalogue, period.to);
    let records = runtime.block_on(read)?;
    if records.assets.is_empty() {
        bail!("no asset is registered in this instance: there is nothing to try a policy on");
    }
    let sources = Sources {
        failures: setup.failures,
        failure_codes: setup.failure_codes,
    };
    let truth = Truth::collect(
        &records.assets,
        setup.catalogue,
        &records.events,
        &records.labels,
        sources,
    )?;
    // What reports a failure is for the judge alone.
    let mut events = records.events.clone();
    for of_device in &mut events {
        of_device.retain(|e| !setup.failure_codes.contains(&e.code));
    }
    let given = Given {
        records: &records,
        truth: &truth,
        events: &events,
        period,
        right_within_hours: setup.right_within_hours,
        n_threads: setup.n_threads,
    };
    let mut worlds = Vec::new();
    for policy in setup.policies {
        worlds.push(runtime.block_on(World::new(policy, given))?);
    }
    let warm_up_from = period.from.plus_hours(-24.0 * setup.warm_up_days);
    let before = Timestamp::from_millis(warm_up_from.as_millis().saturating_sub(1));
    let mut tapes = Tapes::new(
        Arc::clone(&setup.store),
        &records.assets,
        Some(before),
        period.to,
        setup.rows_held,
    );
    let mut n_rows = 0_u64;
    loop {
        let stretch = tapes.next(runtime.handle(), setup.n_threads)?;
        for piece in stretch.pieces() {
            for world in &mut worlds {
                world.play(&piece, runtime.handle())?;
            }
            n_rows += piece.rows.iter().map(|rows| rows.len() as u64).sum::<u64>();
            progress(piece.end, n_rows);
        }
        if stretch.is_last {
            break;
        }
    }
    let mut policies = Vec::new();
    for world in &worlds {
        let (holdings, open_at_end) = runtime.block_on(world.close())?;
        policies.push(PolicyReport::of(
            given,
            world.policy,
            &world.fates,
            &world.tally,
            &holdings,
            open_at_end,
        ));
    }
    let truth_report = worlds.first().map_or_else(
        || TruthReport::of(given, &[]),
        |world| TruthReport::of(given, &world.fates),
    );
    Ok(Report {
        from: period.from,
        to: period.to,
        currency: setup.catalogue.currency.clone(),
        devices: records.assets.len(),
        rows_scored: n_rows,
        truth: truth_report,
        policies,
    })
}

#[cfg(test)]
mod tests;
