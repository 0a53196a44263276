use super::*;

#[test]
fn an_empty_text_is_an_error() {
    assert!(matches!(negotiate_publish("", &Policy::default()), Err(SdpError::Syntax(_))));
}
