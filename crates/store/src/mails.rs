//! Messages that came by e-mail and belong nowhere yet: kept until somebody says where they belong.

use forecare_domain::{InboxMail, MailFate, Notice};

use crate::StoreError;

/// Most messages that wait.
pub const MAILS_WAITING_MAX: usize = 5_000;
/// Most bytes of all that wait: 1 GiB.
pub const MAILS_BYTES_MAX: i64 = 1024 * 1024 * 1024;
/// Messages kept after it was said what becomes of them, so that the same ones again change nothing; the oldest go first.
pub const MAILS_SETTLED_KEPT: i64 = 100_000;

/// A message to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMail {
    /// What is known of it.
    pub mail: InboxMail,
    /// The message as it came; `None`: all there is stands in `mail`.
    pub content: Option<Vec<u8>>,
    /// What people are told with it.
    pub notice: Notice,
}

impl NewMail {
    /// Length of the content, bytes.
    #[must_use]
    pub fn bytes(&self) -> i64 {
        let n = self.content.as_ref().map_or(0, Vec::len);
        i64::try_from(n).unwrap_or(i64::MAX)
    }

    /// Why it is not kept beside `n` others of `before` bytes; `None`: there is room.
    #[must_use]
    pub fn too_much(&self, n: usize, before: i64) -> Option<StoreError> {
        // What anybody may send leaves room for customers.
        let (share, share_of_bytes) = if self.mail.customer.is_some() {
            (1, 1)
        } else {
            (2, 2)
        };
        let bytes = before.saturating_add(self.bytes());
        let is_full = n >= MAILS_WAITING_MAX / share || bytes > MAILS_BYTES_MAX / share_of_bytes;
        is_full.then(|| {
            StoreError::Conflict(format!(
                "the inbox is full ({MAILS_WAITING_MAX} messages of {MAILS_BYTES_MAX} bytes in all): place or discard some first (forecare tickets inbox)"
            ))
        })
    }
}

/// `mail` after it was said what becomes of it; the same again changes nothing.
///
/// # Errors
/// [`StoreError::Conflict`]: something else became of it before.
pub fn settled(mail: &InboxMail, fate: MailFate) -> Result<InboxMail, StoreError> {
    let said = match (&mail.fate, &fate) {
        (MailFate::Waiting, _) => {
            return Ok(InboxMail {
                fate,
                ..mail.clone()
            });
        }
        (MailFate::Placed { ticket, .. }, MailFate::Placed { ticket: again, .. })
            if ticket == again =>
        {
            return Ok(mail.clone());
        }
        (MailFate::Discarded { .. }, MailFate::Discarded { .. }) => return Ok(mail.clone()),
        (MailFate::Placed { ticket, .. }, _) => format!("it was placed before, as {ticket}"),
        (MailFate::Discarded { .. }, _) => "it was discarded before".to_owned(),
    };
    Err(StoreError::Conflict(said))
}
