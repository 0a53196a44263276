//! The whole API in the words of OpenAPI: one fragment per area in `openapi/`, each with its paths and schemas, merged
//! at first use.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

/// What all areas share comes first; the others in the order in which they are read.
const FRAGMENTS: [&str; 6] = [
    include_str!("openapi/base.json"),
    include_str!("openapi/sessions.json"),
    include_str!("openapi/connections.json"),
    include_str!("openapi/signals.json"),
    include_str!("openapi/recordings.json"),
    include_str!("openapi/server.json"),
];

static WHOLE: LazyLock<String> = LazyLock::new(|| {
    // A test parses each fragment, so that nothing is left out here.
    let parsed = FRAGMENTS.iter().filter_map(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let whole = parsed.reduce(|mut whole, fragment| {
        merge(&mut whole, fragment);
        whole
    });
    serde_json::to_string_pretty(&whole).unwrap_or_default()
});

pub(super) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], WHOLE.as_str()).into_response()
}

/// Adds the members of one object to another, also those of objects that both have.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(there)), Value::Object(more)) => merge(there, more),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_fragment_is_read_and_none_overwrites_another() {
        let fragments: Vec<Value> = FRAGMENTS.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let whole: Value = serde_json::from_str(&WHOLE).unwrap();
        for section in ["/paths", "/components/schemas"] {
            let members = |value: &Value| value.pointer(section).unwrap().as_object().unwrap().clone();
            let names: Vec<_> = fragments.iter().flat_map(|fragment| members(fragment).into_iter()).collect();
            let distinct: HashSet<_> = names.iter().map(|(name, _)| name).collect();
            assert_eq!((distinct.len(), names.len()), (names.len(), members(&whole).len()), "{section}");
        }
        assert_eq!(whole["info"], fragments[0]["info"]);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let whole: Value = serde_json::from_str(&WHOLE).unwrap();
        let references: HashSet<&str> =
            WHOLE.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(references.len() > 20);
        for reference in references {
            assert!(whole.pointer(reference).is_some(), "{reference}");
        }
    }
}
