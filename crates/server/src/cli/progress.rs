//! A live line on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far something is.
pub(crate) struct Progress {
    bar: ProgressBar,
    plain: bool,
}

impl Progress {
    /// A bar to `length`.
    pub(crate) fn bar(length: u64, unit: &str) -> Self {
        let template =
            format!("{{bar:30}} {{pos}}/{{len}} {unit}  {{elapsed}} (left {{eta}})  {{msg}}");
        Self::with(ProgressBar::new(length), &template)
    }

    /// A line without an end.
    pub(crate) fn line() -> Self {
        Self::with(ProgressBar::new_spinner(), "{spinner} {msg}")
    }

    fn with(bar: ProgressBar, template: &str) -> Self {
        let plain = !std::io::stderr().is_terminal();
        bar.set_draw_target(if plain {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        });
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !plain {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, plain }
    }

    /// How much there is to do, once that is known.
    pub(crate) fn length(&self, length: u64) {
        self.bar.set_length(length);
    }

    pub(crate) fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Sets a bar to 100 by a share, 0 to 1.
    pub(crate) fn share(&self, share: f64) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 100"
        )]
        self.bar.set_position((share * 100.0) as u64);
    }

    /// Replaces the text beside the bar.
    pub(crate) fn say(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Prints a line that stays.
    pub(crate) fn note(&self, text: &str) {
        if self.plain {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// True where nobody watches a live line: then important lines are to be noted now and then.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
