//! Links that let a customer answer about one ticket, without a login.

use forecare_domain::{TicketId, Timestamp};
use hmac::Mac;

use crate::sign::{hex, mac, unhex};

/// Bytes of the code that are kept: 128 bits.
const CODE_BYTES: usize = 16;

/// Makes and reads tokens: `<ticket>-<end, epoch seconds in hex>-<code>`, the code being the first 128 bits of an
/// HMAC-SHA256 over what stands before it.
#[derive(Clone)]
pub struct SurveyLinks {
    secret: Vec<u8>,
}

impl std::fmt::Debug for SurveyLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SurveyLinks").finish_non_exhaustive()
    }
}

/// Why a link opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefused {
    /// We did not make it.
    #[error("this link is not complete; open it as it stands in the message")]
    Forged,
    /// It was good once.
    #[error("this link has expired")]
    Expired,
}

impl SurveyLinks {
    /// With a secret of this instance.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self {
            secret: secret.to_vec(),
        }
    }

    fn code(&self, said: &str) -> Vec<u8> {
        let mac = mac(&self.secret, &[b"forecare survey\0", said.as_bytes()]);
        let mut code = mac.finalize().into_bytes().to_vec();
        code.truncate(CODE_BYTES);
        code
    }

    /// The token for `ticket`, good until `until`.
    #[must_use]
    pub fn token(&self, ticket: TicketId, until: Timestamp) -> String {
        let said = format!("{}-{:x}", ticket.0, until.as_millis().div_euclid(1_000));
        let code = hex(&self.code(&said));
        format!("{said}-{code}")
    }

    /// The ticket that `token` is for.
    ///
    /// # Errors
    /// Not one of ours, or no longer good at `now`.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<TicketId, LinkRefused> {
        let (said, code) = token.rsplit_once('-').ok_or(LinkRefused::Forged)?;
        let sent = unhex(code).ok_or(LinkRefused::Forged)?;
        let full = mac(&self.secret, &[b"forecare survey\0", said.as_bytes()]);
        if sent.len() != CODE_BYTES || full.verify_truncated_left(&sent).is_err() {
            return Err(LinkRefused::Forged);
        }
        let (ticket, until) = said.split_once('-').ok_or(LinkRefused::Forged)?;
        let ticket = ticket
            .parse()
            .map_err(|_no_number: std::num::ParseIntError| LinkRefused::Forged)?;
        let until_s = i64::from_str_radix(until, 16)
            .map_err(|_no_number: std::num::ParseIntError| LinkRefused::Forged)?;
        if now.as_millis().div_euclid(1_000) > until_s {
            return Err(LinkRefused::Expired);
        }
        Ok(TicketId(ticket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_its_own_ticket_until_its_end() {
        let links = SurveyLinks::new(b"secret");
        let end = Timestamp::from_millis(1_800_000_000_000);
        let token = links.token(TicketId(12), end);
        assert_eq!(
            links.read(&token, Timestamp::from_millis(0)),
            Ok(TicketId(12))
        );
        assert_eq!(links.read(&token, end), Ok(TicketId(12)));
        assert_eq!(
            links.read(&token, end.plus_hours(1.0)),
            Err(LinkRefused::Expired)
        );
    }

    #[test]
    fn no_other_text_opens_anything() {
        let links = SurveyLinks::new(b"secret");
        let end = Timestamp::from_millis(1_800_000_000_000);
        let token = links.token(TicketId(12), end);
        let other = SurveyLinks::new(b"other");
        assert_eq!(other.read(&token, end), Err(LinkRefused::Forged));
        for wrong in [
            token.replacen("12-", "13-", 1),
            token.replacen("12-", "012-", 1),
            token[..token.len() - 2].to_owned(),
            format!("{token}00"),
            "12".to_owned(),
            "--".to_owned(),
            String::new(),
            "é-é-é".to_owned(),
        ] {
            assert_eq!(links.read(&wrong, end), Err(LinkRefused::Forged), "{wrong}");
        }
    }
}
