//! Who may come in: devices by name and secret, people by token. Only hashes are kept.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use forecare_api::{Auth, Role, Visitor};
use forecare_ingest::Authorizer;
use forecare_store::{Credential, CredentialRole};

use crate::home::secret_hash;

/// The user that the API token stands for.
pub(crate) const ADMIN: &str = "admin";

/// All credentials, shared by broker and API.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    by_name: Arc<RwLock<HashMap<String, Credential>>>,
    /// Those of this process, beside the stored ones.
    own: Arc<[Credential]>,
    /// Hash of the token that opens `/metrics` and nothing else.
    metrics_sha256: Option<Arc<str>>,
    /// Clients of the embedded broker need no credential.
    anonymous: bool,
}

impl Keys {
    /// `own` are those of this process; they win over `stored` ones of the same name.
    pub(crate) fn new(stored: &[Credential], own: Vec<Credential>, anonymous: bool) -> Self {
        let keys = Self {
            by_name: Arc::default(),
            own: own.into(),
            metrics_sha256: None,
            anonymous,
        };
        keys.renew(stored);
        keys
    }

    /// Lets `token` open `/metrics`, and nothing else.
    pub(crate) fn with_metrics_token(self, token: &str) -> Self {
        Self {
            metrics_sha256: Some(secret_hash(token.as_bytes()).into()),
            ..self
        }
    }

    /// Takes what is stored now in place of what was stored before.
    pub(crate) fn renew(&self, stored: &[Credential]) {
        let by_name = stored
            .iter()
            .chain(self.own.iter())
            .map(|c| (c.username.clone(), c.clone()))
            .collect();
        *self.by_name.write().unwrap_or_else(PoisonError::into_inner) = by_name;
    }

    fn role(&self, username: &str) -> Option<CredentialRole> {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(username)
            .map(|c| c.role)
    }
}

/// Compares without telling by its duration where the first difference lies.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .fold(0, |difference, (x, y)| difference | (x ^ y))
            == 0
}

impl Authorizer for Keys {
    fn authenticate(
        &self,
        _client_id: &str,
        username: Option<&str>,
        password: Option<&[u8]>,
    ) -> bool {
        let Some(username) = username else {
            return self.anonymous;
        };
        let keys = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        match (keys.get(username), password) {
            (Some(key), Some(password)) => {
                !key.role.is_for_people() && same(&key.secret_sha256, &secret_hash(password))
            }
            (None, _) => self.anonymous,
            (Some(_), None) => false,
        }
    }

    fn may_publish(&self, username: Option<&str>, topic: &str) -> bool {
        let device = topic
            .strip_prefix("devices/")
            .and_then(|rest| rest.split('/').next());
        match username.map(|name| (name, self.role(name))) {
            Some((name, Some(CredentialRole::Device))) => {
                device == Some(name) || topic.starts_with("v1/devices/me/")
            }
            Some((_, Some(CredentialRole::Gateway))) => device.is_some(),
            Some((_, Some(CredentialRole::Api | CredentialRole::Viewer))) => false,
            Some((_, None)) | None => self.anonymous,
        }
    }

    fn may_subscribe(&self, username: Option<&str>, filter: &str) -> bool {
        // Devices hear what is addressed to them, never each other's telemetry.
        let device = filter
            .strip_prefix("devices/")
            .and_then(|rest| rest.split('/').next());
        match username.map(|name| (name, self.role(name))) {
            Some((name, Some(CredentialRole::Device))) => {
                device == Some(name) || filter.starts_with("v1/devices/me/")
            }
            Some((_, Some(CredentialRole::Gateway))) => device.is_some(),
            Some((_, Some(CredentialRole::Api | CredentialRole::Viewer))) => false,
            Some((_, None)) | None => self.anonymous,
        }
    }
}

impl Auth for Keys {
    fn check_token(&self, token: &str) -> Option<Visitor> {
        let hash = secret_hash(token.as_bytes());
        let keys = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        keys.values()
            .find(|k| k.role.is_for_people() && same(&k.secret_sha256, &hash))
            .map(|k| Visitor {
                name: k.username.clone(),
                role: match k.role {
                    CredentialRole::Api => Role::Operator,
                    CredentialRole::Viewer | CredentialRole::Device | CredentialRole::Gateway => {
                        Role::Viewer
                    }
                },
            })
    }

    fn opens_metrics(&self, token: &str) -> bool {
        let hash = secret_hash(token.as_bytes());
        let is_for_metrics = self
            .metrics_sha256
            .as_deref()
            .is_some_and(|metrics| same(metrics, &hash));
        is_for_metrics || self.check_token(token).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(anonymous: bool) -> Keys {
        let key = |username: &str, role, secret: &str| Credential {
            username: username.to_owned(),
            role,
            secret_sha256: secret_hash(secret.as_bytes()),
        };
        Keys::new(
            &[
                key("pump-1", CredentialRole::Device, "a"),
                key("hall", CredentialRole::Gateway, "b"),
            ],
            vec![key("admin", CredentialRole::Api, "c")],
            anonymous,
        )
    }

    fn admin() -> Visitor {
        Visitor {
            name: "admin".to_owned(),
            role: Role::Operator,
        }
    }

    #[test]
    fn a_viewers_token_is_known_as_one_and_opens_no_broker() {
        let keys = keys(true);
        keys.renew(&[Credential {
            username: "board".to_owned(),
            role: CredentialRole::Viewer,
            secret_sha256: secret_hash(b"v"),
        }]);
        assert_eq!(keys.check_token("v").unwrap().role, Role::Viewer);
        assert!(!keys.authenticate("x", Some("board"), Some(b"v")));
        assert!(!keys.may_publish(Some("board"), "devices/board/telemetry"));
    }

    #[test]
    fn renewed_keys_forget_the_old_secret_and_keep_the_process_own() {
        let keys = keys(false);
        keys.renew(&[Credential {
            username: "pump-1".to_owned(),
            role: CredentialRole::Device,
            secret_sha256: secret_hash(b"new"),
        }]);
        assert!(keys.authenticate("x", Some("pump-1"), Some(b"new")));
        assert!(!keys.authenticate("x", Some("pump-1"), Some(b"a")));
        assert!(!keys.authenticate("x", Some("hall"), Some(b"b")));
        assert_eq!(keys.check_token("c"), Some(admin()));
    }

    #[test]
    fn a_device_speaks_only_for_itself() {
        let keys = keys(false);
        assert!(keys.authenticate("x", Some("pump-1"), Some(b"a")));
        assert!(!keys.authenticate("x", Some("pump-1"), Some(b"b")));
        assert!(!keys.authenticate("x", Some("pump-1"), None));
        assert!(!keys.authenticate("x", None, None));
        assert!(keys.may_publish(Some("pump-1"), "devices/pump-1/telemetry"));
        assert!(keys.may_publish(Some("pump-1"), "v1/devices/me/telemetry"));
        assert!(!keys.may_publish(Some("pump-1"), "devices/pump-2/telemetry"));
        assert!(!keys.may_publish(Some("pump-1"), "devices/pump-10/telemetry"));
        assert!(!keys.may_subscribe(Some("pump-1"), "devices/+/telemetry"));
        assert!(!keys.may_subscribe(Some("pump-1"), "#"));
        assert!(keys.may_publish(Some("hall"), "devices/pump-2/telemetry"));
    }

    #[test]
    fn the_token_of_people_opens_no_broker_and_no_device_opens_the_api() {
        let keys = keys(true);
        assert!(!keys.authenticate("x", Some("admin"), Some(b"c")));
        assert_eq!(keys.check_token("c"), Some(admin()));
        assert_eq!(keys.check_token("a"), None);
        assert_eq!(keys.check_token(""), None);
    }

    #[test]
    fn the_token_for_metrics_is_nobodys_name_and_opens_no_broker() {
        let keys = keys(true).with_metrics_token("m");
        assert!(keys.opens_metrics("m") && keys.opens_metrics("c"));
        assert!(!keys.opens_metrics("a") && !keys.opens_metrics(""));
        assert_eq!(keys.check_token("m"), None);
        assert!(!keys.authenticate("x", Some("pump-1"), Some(b"m")));
        keys.renew(&[]);
        assert!(keys.opens_metrics("m"));
    }

    #[test]
    fn an_open_broker_still_guards_the_names_that_have_a_secret() {
        let keys = keys(true);
        assert!(keys.authenticate("x", None, None));
        assert!(!keys.authenticate("x", Some("pump-1"), None));
    }
}
