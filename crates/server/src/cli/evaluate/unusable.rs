//! Files that cannot be used: named at once, counted, and told by the exit code when all others are done.

use std::error::Error;

use anyhow::{Result, bail};

/// Counts what could not be used.
#[derive(Debug, Default)]
pub(super) struct Unusable(usize);

impl Unusable {
    /// Names a fault with its cause.
    pub(super) fn tell(&mut self, fault: &dyn Error) {
        let mut text = fault.to_string();
        let mut cause = fault.source();
        while let Some(source) = cause {
            text += &format!(": {source}");
            cause = source.source();
        }
        self.say(&text);
    }

    /// Names a fault in words.
    pub(super) fn say(&mut self, fault: &str) {
        self.0 += 1;
        eprintln!("left out: {fault}");
    }

    pub(super) fn count(&self) -> usize {
        self.0
    }

    /// What the command ends with.
    ///
    /// # Errors
    /// Something could not be used.
    pub(super) fn end(&self) -> Result<()> {
        if self.0 > 0 {
            bail!(
                "{} file(s) could not be used and are named above; everything else is done and written",
                self.0
            );
        }
        Ok(())
    }
}
