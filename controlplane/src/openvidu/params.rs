//! Parameters of requests, read as leniently as OpenVidu reads them: native clients send every value as a string.
//!
//! A boolean may be a string (`"true"` in any case is true, anything else false), a number may be a numeric string, a
//! string may be a number or a boolean. Null, objects and arrays are of the wrong type for all three.

use std::borrow::Cow;

use serde_json::Value;

use super::rpc::{Failure, Request};

impl Request {
    /// A string parameter.
    ///
    /// # Errors
    /// Shape X when it is missing or of the wrong type.
    pub fn text(&self, name: &str) -> Result<Cow<'_, str>, Failure> {
        self.required(name, as_text)
    }

    /// A string parameter that may be missing or null.
    ///
    /// # Errors
    /// Shape X when it is of the wrong type.
    pub fn optional_text(&self, name: &str) -> Result<Option<Cow<'_, str>>, Failure> {
        self.optional(name, as_text)
    }

    /// A boolean parameter.
    ///
    /// # Errors
    /// Shape X when it is missing or of the wrong type.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        self.required(name, as_flag)
    }

    /// A boolean parameter that may be missing or null.
    ///
    /// # Errors
    /// Shape X when it is of the wrong type.
    pub fn optional_flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        self.optional(name, as_flag)
    }

    /// An integer parameter; fractions are cut off.
    ///
    /// # Errors
    /// Shape X when it is missing or of the wrong type.
    pub fn integer(&self, name: &str) -> Result<i64, Failure> {
        self.required(name, as_integer)
    }

    /// An integer parameter that may be missing or null; fractions are cut off.
    ///
    /// # Errors
    /// Shape X when it is of the wrong type.
    pub fn optional_integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        self.optional(name, as_integer)
    }

    fn required<'a, T>(&'a self, name: &str, read: fn(&'a Value) -> Option<T>) -> Result<T, Failure> {
        self.optional(name, read)?.ok_or_else(|| Failure::missing(&self.method, name))
    }

    fn optional<'a, T>(&'a self, name: &str, read: fn(&'a Value) -> Option<T>) -> Result<Option<T>, Failure> {
        match self.params.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| Failure::wrong_type(&self.method, name)),
        }
    }
}

fn as_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Some(Cow::Owned(value.to_string())),
        _ => None,
    }
}

/// A boolean as [`Request::flag`] reads it.
pub(super) fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => Some(text.eq_ignore_ascii_case("true")),
        // Gson asks the number's text, which is not "true".
        Value::Number(_) => Some(false),
        _ => None,
    }
}

fn as_integer(value: &Value) -> Option<i64> {
    let from_float = |number: f64| number.is_finite().then_some(number as i64);
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(from_float)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| text.parse().ok().and_then(from_float))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn with(value: Value) -> Request {
        let params = json!({"p": value}).as_object().cloned().unwrap();
        Request { id: json!(1), method: "m".into(), params }
    }

    #[test]
    fn native_clients_send_strings() {
        for (value, flag) in
            [(json!(true), true), (json!("true"), true), (json!("TRUE"), true), (json!("1"), false), (json!(1), false)]
        {
            assert_eq!(with(value).flag("p"), Ok(flag));
        }
        for value in [json!(30), json!("30"), json!(" 30 "), json!(30.7), json!("30.7")] {
            assert_eq!(with(value).integer("p"), Ok(30));
        }
        assert_eq!(with(json!(-1)).integer("p"), Ok(-1));
        assert_eq!(with(json!(7)).text("p").unwrap(), "7");
        assert_eq!(with(json!(false)).text("p").unwrap(), "false");
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_by_name() {
        let missing = Failure::missing("m", "p");
        assert_eq!(with(Value::Null).text("p"), Err(missing.clone()));
        assert_eq!(with(json!(1)).flag("other"), Err(Failure::missing("m", "other")));
        for value in [json!({}), json!([]), json!([true])] {
            let request = with(value);
            let wrong = Failure::wrong_type("m", "p");
            assert_eq!(request.text("p"), Err(wrong.clone()));
            assert_eq!(request.flag("p"), Err(wrong.clone()));
            assert_eq!(request.optional_integer("p"), Err(wrong));
        }
        assert_eq!(with(json!("thirty")).integer("p"), Err(Failure::wrong_type("m", "p")));
        assert_eq!(with(json!("NaN")).integer("p"), Err(Failure::wrong_type("m", "p")));
        assert_eq!(with(Value::Null).optional_text("p"), Ok(None));
        assert_eq!(with(json!("")).optional_text("none"), Ok(None));
    }

    proptest! {
        #[test]
        fn numbers_and_their_texts_are_the_same(number in any::<i64>()) {
            prop_assert_eq!(with(json!(number)).integer("p"), Ok(number));
            prop_assert_eq!(with(json!(number.to_string())).integer("p"), Ok(number));
        }

        #[test]
        fn any_text_is_read(text in ".*") {
            let request = with(json!(text));
            prop_assert_eq!(request.text("p").unwrap(), text.as_str());
            prop_assert_eq!(request.flag("p"), Ok(text.eq_ignore_ascii_case("true")));
            let _ = request.integer("p");
        }
    }
}
