//! What a form of the console sends.

use axum::extract::{Form, FromRequest, Request};
use axum::http::StatusCode;

use crate::problem::Problem;

/// The fields of a form, in order.
pub(crate) struct Fields(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Form(fields) = Form::from_request(request, state)
            .await
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
        Ok(Self(fields))
    }
}

impl Fields {
    /// Fields as if a form had sent them.
    pub(crate) fn of<const N: usize>(fields: [(&str, String); N]) -> Self {
        let fields = fields.into_iter();
        Self(
            fields
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// The field without surrounding blanks; `None` where it is missing or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// Every value of the field that is not empty: of boxes that are ticked.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self.0.iter().filter(move |(field, _)| field == name);
        own.map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The field, which must be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Problem> {
        self.get(name)
            .ok_or_else(|| Problem::invalid(name, format!("the field \"{name}\" is empty")))
    }

    /// Fields whose names begin with `prefix`, without it; as they were sent, empty ones too.
    pub(crate) fn as_sent<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let fields = self.0.iter();
        fields.filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// Fields whose names begin with `prefix`, without it.
    pub(crate) fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(move |(field, value)| {
            let rest = field.strip_prefix(prefix)?;
            let value = value.trim();
            (!value.is_empty()).then_some((rest, value))
        })
    }
}

/// A path of this service to go to: anything else leads to the first page.
pub(crate) fn local_path(path: Option<&str>) -> &str {
    let is_local = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    };
    path.filter(is_local).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_site() {
        assert_eq!(local_path(Some("/tickets/7?x=1")), "/tickets/7?x=1");
        for path in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/a\r\nSet-Cookie: x=y",
            "",
        ] {
            assert_eq!(local_path(Some(path)), "/", "{path}");
        }
    }
}
