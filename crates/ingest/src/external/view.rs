//! What the connection and the consumer know of each other.

use std::sync::Arc;

use super::link::Acks;

/// Shared state of one session. An epoch is one connection; it ends with the first error on it, and
/// with it the right to acknowledge what it brought: the broker may give the packet id to another
/// message.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// The connection whose messages can be acknowledged.
    pub(super) epoch: u64,
    /// Where acknowledgements of this epoch go.
    pub(super) acks: Option<Arc<Acks>>,
    /// Messages of earlier epochs than this come again: the broker resumed the session.
    resent_before: u64,
    /// Messages of earlier epochs than this never come again: the broker has forgotten the session.
    forgotten_before: u64,
    /// No more messages are wanted.
    pub(super) stopping: bool,
    /// The consumer is gone.
    pub(super) abandoned: bool,
    /// No more connections will be made.
    finished: bool,
}

/// What to do with a message that waits in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Hand it out.
    Keep,
    /// The broker sends it again.
    Drop,
    /// The next connection will tell.
    Wait,
}

impl View {
    /// A new connection is attempted; returns its epoch.
    pub(super) fn begin(&mut self, acks: Arc<Acks>) -> u64 {
        self.epoch += 1;
        self.acks = Some(acks);
        self.epoch
    }

    /// The connection `epoch` is lost or given up.
    pub(super) fn end(&mut self, epoch: u64) {
        if self.epoch == epoch {
            self.epoch += 1;
            self.acks = None;
        }
    }

    /// The broker accepted the connection `epoch`, with or without our session.
    pub(super) fn accepted(&mut self, epoch: u64, session_present: bool) {
        if session_present {
            self.resent_before = epoch;
        } else {
            self.forgotten_before = epoch;
        }
    }

    /// No more connections will be made.
    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.epoch += 1;
        self.acks = None;
    }

    pub(super) fn verdict(&self, epoch: u64) -> Verdict {
        if epoch == self.epoch || epoch < self.forgotten_before {
            Verdict::Keep
        } else if epoch < self.resent_before || self.finished {
            Verdict::Drop
        } else {
            Verdict::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks() -> Arc<Acks> {
        Arc::default()
    }

    #[test]
    fn a_lost_message_waits_until_the_broker_tells_whether_it_comes_again() {
        let mut view = View::default();
        let first = view.begin(acks());
        view.accepted(first, false);
        assert_eq!(view.verdict(first), Verdict::Keep);
        view.end(first);
        assert_eq!(view.verdict(first), Verdict::Wait);
        let second = view.begin(acks());
        assert_eq!(view.verdict(first), Verdict::Wait);
        view.accepted(second, true);
        assert_eq!(view.verdict(first), Verdict::Drop);
        assert_eq!(view.verdict(second), Verdict::Keep);
    }

    #[test]
    fn what_the_broker_has_forgotten_is_kept_for_good() {
        let mut view = View::default();
        let first = view.begin(acks());
        view.end(first);
        let second = view.begin(acks());
        view.accepted(second, false);
        assert_eq!(view.verdict(first), Verdict::Keep);
        view.end(second);
        let third = view.begin(acks());
        view.accepted(third, true);
        assert_eq!(view.verdict(first), Verdict::Keep);
        assert_eq!(view.verdict(second), Verdict::Drop);
    }

    #[test]
    fn after_the_end_nothing_waits() {
        let mut view = View::default();
        let first = view.begin(acks());
        view.finish();
        assert_eq!(view.verdict(first), Verdict::Drop);
    }

    #[test]
    fn giving_up_an_old_connection_leaves_the_new_one() {
        let mut view = View::default();
        let first = view.begin(acks());
        view.end(first);
        let second = view.begin(acks());
        view.end(first);
        assert_eq!(view.verdict(second), Verdict::Keep);
        assert!(view.acks.is_some());
    }
}
