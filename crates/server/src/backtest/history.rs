//! The stored history of all devices, read in stretches of bounded size.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, DeviceEvent, DeviceId, Label, Row, Timestamp};
use forecare_store::{MaintenanceWindow, Store, StoreError, every};
use tokio::runtime::Handle;

/// Rows of all devices together that are held in memory, about; at the least and at the most of one device.
const ROWS_HELD: usize = 200_000;
const ROWS_OF_DEVICE: (usize, usize) = (64, 20_000);
/// Rows of all devices together that are scored ahead, about, and at the least of one device: after a verdict those of
/// its device are scored again. Enough that starting threads and keeping a state to go back to costs little beside it.
const ROWS_AHEAD: usize = 2_000;
const ROWS_AHEAD_OF_DEVICE: usize = 32;

/// What is read once: everything but the rows.
pub(crate) struct Records {
    /// The assets whose class is in the catalogue, by device.
    pub(crate) assets: Vec<Asset>,
    /// Events of each asset's device before the end, by time.
    pub(crate) events: Vec<Vec<DeviceEvent>>,
    /// Maintenance windows of each asset's device.
    pub(crate) windows: Vec<Vec<MaintenanceWindow>>,
    /// All verdicts.
    pub(crate) labels: Vec<Label>,
}

impl Records {
    /// Reads them.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn read(
        store: &dyn Store,
        catalogue: &Catalogue,
        to: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut assets = store.assets().await?;
        assets.retain(|asset| catalogue.class(&asset.class).is_some());
        assets.sort_by(|a, b| a.device.cmp(&b.device));
        let places: BTreeMap<DeviceId, usize> = assets
            .iter()
            .enumerate()
            .map(|(place, asset)| (asset.device.clone(), place))
            .collect();
        let mut events = vec![Vec::new(); assets.len()];
        for event in every(|page| store.events(None, page)).await? {
            if let Some(place) = places.get(&event.device)
                && event.ts < to
            {
                events[*place].push(event);
            }
        }
        for of_device in &mut events {
            // Newest first, as read; at one instant the order of arrival counts.
            of_device.reverse();
            of_device.sort_by_key(|e| e.ts);
        }
        let labels = every(|page| store.labels(page)).await?;
        let mut windows = vec![Vec::new(); assets.len()];
        for window in store.maintenance_windows(Timestamp::MIN).await? {
            if let Some(place) = places.get(&window.device) {
                windows[*place].push(window);
            }
        }
        Ok(Self {
            assets,
            events,
            windows,
            labels,
        })
    }
}

/// One device's rows: what is read and not yet played.
struct Tape {
    device: DeviceId,
    rows: VecDeque<Row>,
    read_to: Option<Timestamp>,
    at_end: bool,
}

/// The rows of all devices, played in stretches: each holds every row of every device up to its end.
pub(crate) struct Tapes {
    store: Arc<dyn Store>,
    tapes: Vec<Tape>,
    to: Timestamp,
    rows_at_once: usize,
}

/// A stretch of history, as it is read.
pub(crate) struct Stretch {
    /// Its last instant.
    pub(crate) end: Timestamp,
    /// The rows of each device, by time.
    pub(crate) rows: Vec<Vec<Row>>,
    /// True when no row is left.
    pub(crate) is_last: bool,
}

/// Part of a stretch, as it is played.
pub(crate) struct Piece<'a> {
    /// Its last instant.
    pub(crate) end: Timestamp,
    /// The rows of each device, by time.
    pub(crate) rows: Vec<&'a [Row]>,
}

impl Stretch {
    /// The stretch in pieces of at most so many rows of a device, in order; rows of one instant stay together.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let share = ROWS_AHEAD / self.rows.len().max(1);
        let rows_at_once = share.max(ROWS_AHEAD_OF_DEVICE);
        let mut left: Vec<&[Row]> = self.rows.iter().map(Vec::as_slice).collect();
        let mut at_end = false;
        std::iter::from_fn(move || {
            if at_end {
                return None;
            }
            let longer = left.iter().filter(|rows| rows.len() > rows_at_once);
            let cut = longer.map(|rows| rows[rows_at_once - 1].ts).min();
            at_end = cut.is_none();
            let end = cut.unwrap_or(self.end);
            let rows = left.iter_mut().map(|left| {
                let (now, later) = left.split_at(left.partition_point(|row| row.ts <= end));
                *left = later;
                now
            });
            Some(Piece {
                end,
                rows: rows.collect(),
            })
        })
    }
}

impl Tapes {
    /// Rows of `assets` later than `after` and before `to`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        assets: &[Asset],
        after: Option<Timestamp>,
        to: Timestamp,
        rows_held: Option<usize>,
    ) -> Self {
        let share = rows_held.unwrap_or(ROWS_HELD) / assets.len().max(1);
        let least = if rows_held.is_some() {
            1
        } else {
            ROWS_OF_DEVICE.0
        };
        let tapes = assets.iter().map(|asset| Tape {
            device: asset.device.clone(),
            rows: VecDeque::new(),
            read_to: after,
            at_end: false,
        });
        Self {
            store,
            tapes: tapes.collect(),
            to,
            rows_at_once: share.clamp(least, ROWS_OF_DEVICE.1),
        }
    }

    /// The next stretch. Reads on `n_threads` threads.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) fn next(
        &mut self,
        runtime: &Handle,
        n_threads: usize,
    ) -> Result<Stretch, StoreError> {
        let (store, to, limit) = (&self.store, self.to, self.rows_at_once);
        in_parallel(&mut self.tapes, n_threads, |tape| {
            tape.read(store.as_ref(), runtime, to, limit)
        })
        .into_iter()
        .collect::<Result<(), _>>()?;
        let open = self.tapes.iter().filter(|tape| !tape.at_end);
        let end = open.filter_map(|tape| tape.read_to).min();
        let is_last = end.is_none();
        let end = end.unwrap_or(self.to).min(self.to);
        let rows = self.tapes.iter_mut().map(|tape| {
            let n = tape.rows.partition_point(|row| row.ts <= end);
            tape.rows.drain(..n).collect()
        });
        Ok(Stretch {
            end,
            rows: rows.collect(),
            is_last,
        })
    }
}

impl Tape {
    fn read(
        &mut self,
        store: &dyn Store,
        runtime: &Handle,
        to: Timestamp,
        limit: usize,
    ) -> Result<(), StoreError> {
        if self.at_end || self.rows.len() > limit / 2 {
            return Ok(());
        }
        let rows = runtime.block_on(store.rows_after(&self.device, self.read_to, limit))?;
        self.at_end = rows.len() < limit;
        self.read_to = rows.last().map(|row| row.ts).or(self.read_to);
        for row in rows {
            if row.ts >= to {
                self.at_end = true;
                break;
            }
            self.rows.push_back(row);
        }
        Ok(())
    }
}

/// Does `work` on every item, on so many threads; results in the items' order.
pub(crate) fn in_parallel<T: Send, R: Send>(
    items: &mut [T],
    n_threads: usize,
    work: impl Fn(&mut T) -> R + Sync,
) -> Vec<R> {
    // Small shares, dealt out as threads get free: devices differ in length.
    let share = items.len().div_ceil(n_threads.max(1) * 8).max(1);
    let shares: Vec<(usize, &mut [T])> = items.chunks_mut(share).enumerate().collect();
    let queue = Mutex::new(shares);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..n_threads.max(1) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((place, items)) = next else { return };
                    let results: Vec<R> = items.iter_mut().map(&work).collect();
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((place, results));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().flat_map(|(_, results)| results).collect()
}
