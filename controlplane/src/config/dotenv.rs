//! `.env` files as OpenVidu's deployments have them: a name, `=`, and the rest of the line as it stands.
//!
//! Shell-like readers take `OPENVIDU_WEBHOOK_HEADERS=["Authorization: Basic …"]` apart at its quotes and spaces, so
//! this reads lines as container tools do: only quotes around a whole value are removed.

/// The pairs of a file, the last one of a name last, and a complaint for each line that is none.
pub(super) fn read(text: &str) -> (Vec<(String, String)>, Vec<String>) {
    let mut pairs = Vec::new();
    let mut complaints = Vec::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let pair = line
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        match pair {
            Some((name, value)) => pairs.push((name.to_owned(), unquote(value).to_owned())),
            None => complaints.push(format!(".env line {} is not NAME=value and is ignored", i + 1)),
        }
    }
    (pairs, complaints)
}

fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote)
            && let Some(end) = rest.find(quote)
            && (rest[end + 1..].trim_start().is_empty() || rest[end + 1..].trim_start().starts_with('#'))
        {
            return &rest[..end];
        }
    }
    // A comment needs a space before it: secrets may contain the sign itself.
    value.split(" #").next().unwrap_or(value).trim_end()
}
