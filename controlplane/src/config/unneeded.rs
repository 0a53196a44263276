//! Names of OpenVidu's configuration that Millrace knows and does without, each with the reason, and what to say of
//! names that nobody knows.

use super::OLD_DOMAIN;
use super::keys::KEYS;

/// A key, or with `*` at its end a family of them, that has no effect here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unneeded {
    pub(super) name: &'static str,
    /// Whether a value of it deserves a word when the server starts.
    missed: Missed,
    /// Why it is not needed, in a line.
    pub(super) why: &'static str,
}

/// When somebody may miss what a key does in OpenVidu.
#[derive(Clone, Copy, Debug)]
enum Missed {
    Never,
    /// With any value but these.
    Unless(&'static [&'static str]),
}

const RECORDER: &str = "for the recorder, which Millrace has not yet: recordings answer 501";
const PORTS: &str = "all media goes through the data plane's one UDP port, MILLRACE_MEDIA_PORT";
const TURN_REDIS: &str =
    "Millrace hands out TURN credentials that expire by themselves, so no store of users is needed";
const COTURN: &str = "an option of the TURN server itself: set it there";
const PROXY: &str = "an option of OpenVidu's nginx: set it in the proxy in front of Millrace, if there is one";
const NO_LIST: &str = "Millrace keeps no list of addresses: restrict the path in the proxy or the firewall";
const COMPOSE: &str = "an option of OpenVidu's containers, which are not used";

const fn quiet(name: &'static str, why: &'static str) -> Unneeded {
    Unneeded { name, missed: Missed::Never, why }
}

const fn missed(name: &'static str, off: &'static [&'static str], why: &'static str) -> Unneeded {
    Unneeded { name, missed: Missed::Unless(off), why }
}

/// All of them, families last.
pub(super) const UNNEEDED: &[Unneeded] = &[
    missed("OPENVIDU_RECORDING", &["false"], RECORDER),
    quiet("OPENVIDU_RECORDING_PATH", RECORDER),
    quiet("OPENVIDU_RECORDING_PUBLIC_ACCESS", RECORDER),
    quiet("OPENVIDU_RECORDING_NOTIFICATION", RECORDER),
    quiet("OPENVIDU_RECORDING_CUSTOM_LAYOUT", RECORDER),
    quiet("OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT", RECORDER),
    quiet("OPENVIDU_RECORDING_COMPOSED_URL", RECORDER),
    quiet("OPENVIDU_RECORDING_COMPOSED_BASICAUTH", RECORDER),
    quiet("OPENVIDU_RECORDING_VERSION", RECORDER),
    quiet("OPENVIDU_RECORDING_IMAGE", RECORDER),
    quiet("OPENVIDU_RECORDING_DEBUG", RECORDER),
    quiet("OPENVIDU_RECORDING_ENABLE_GPU", RECORDER),
    quiet("OPENVIDU_RECORDING_ZIP_FILES", RECORDER),
    missed("OPENVIDU_EDITION", &["ce"], "there is one edition of Millrace"),
    quiet("OPENVIDU_BROWSER_LOGS", "browsers keep their logs to themselves"),
    quiet("OPENVIDU_ENTERPRISE_MEDIA_SERVER", "MILLRACE_MEDIA_SERVER says which one is announced to clients"),
    quiet("KMS_URIS", "Millrace's data plane takes the place of Kurento; it is found by MILLRACE_CONTROL_SOCKET"),
    quiet("KMS_IMAGE", "Millrace's data plane takes the place of Kurento"),
    quiet("KMS_MIN_PORT", PORTS),
    quiet("KMS_MAX_PORT", PORTS),
    quiet("MEDIA_NODES_PUBLIC_IPS", "the data plane announces the addresses in its MILLRACE_ANNOUNCE"),
    quiet("COTURN_INTERNAL_RELAY", COTURN),
    quiet("COTURN_MIN_PORT", COTURN),
    quiet("COTURN_MAX_PORT", COTURN),
    quiet("COTURN_REDIS_IP", TURN_REDIS),
    quiet("COTURN_REDIS_DBNAME", TURN_REDIS),
    quiet("COTURN_REDIS_PASSWORD", TURN_REDIS),
    quiet("COTURN_REDIS_CONNECT_TIMEOUT", TURN_REDIS),
    quiet("LETSENCRYPT_EMAIL", "Millrace orders no certificates: use a proxy, or CERTIFICATE_TYPE=owncert"),
    quiet("HTTP_PORT", "Millrace does not listen for plain HTTP to redirect it: let a proxy do that"),
    quiet("HTTPS_PROTOCOLS", "TLS 1.2 and 1.3 are spoken, no older one"),
    quiet("HTTPS_CIPHERS", "only cipher suites with forward secrecy and authenticated encryption are offered"),
    quiet("HTTPS_HSTS", PROXY),
    missed("ALLOWED_ACCESS_TO_DASHBOARD", &[], "Millrace has no dashboard"),
    missed("ALLOWED_ACCESS_TO_RESTAPI", &[], NO_LIST),
    quiet("PROXY_PUBLIC_IP", NO_LIST),
    quiet("XFRAME_SAMEORIGIN", "no page may be put into a frame: X-Frame-Options is DENY on every answer"),
    quiet("REDIRECT_WWW", PROXY),
    quiet("WORKER_CONNECTIONS", PROXY),
    quiet("CLIENT_MAX_BODY_SIZE", "requests of the REST API may have 1 MiB, which no client comes near"),
    quiet("DOCKER_LOGS_MAX_SIZE", COMPOSE),
    quiet("FOLLOW_OPENVIDU_LOGS", COMPOSE),
    quiet("JAVA_OPTIONS", "there is no Java"),
    quiet("OV_CE_DEBUG_LEVEL", "MILLRACE_LOG says what is logged"),
    quiet("MILLRACE_MEDIA_PORT", DATA_PLANE),
    quiet("MILLRACE_WORKERS", DATA_PLANE),
    quiet("MILLRACE_BIND", DATA_PLANE),
    quiet("MILLRACE_ANNOUNCE", DATA_PLANE),
    quiet("MILLRACE_BUFFER_MIB", DATA_PLANE),
    quiet("MILLRACE_MAX_TRANSPORTS", DATA_PLANE),
    quiet("MILLRACE_MAX_HANDSHAKES", DATA_PLANE),
    quiet("MILLRACE_HANDSHAKE_TIMEOUT_MS", DATA_PLANE),
    quiet("MILLRACE_PIN", DATA_PLANE),
    quiet("MILLRACE_GSO", DATA_PLANE),
    quiet("MILLRACE_STEER", DATA_PLANE),
    quiet("MILLRACE_SEND_BY", DATA_PLANE),
    quiet("OPENVIDU_PRO_*", "Pro and Enterprise are licensed editions of OpenVidu; Millrace needs no licence"),
    quiet("OPENVIDU_ENTERPRISE_*", "clusters are an affair of OpenVidu Enterprise"),
    quiet("KMS_DOCKER_ENV_*", "Millrace's data plane takes the place of Kurento"),
    quiet("CALL_*", "for openvidu-call, the application that OpenVidu's compose files bring along"),
];

const DATA_PLANE: &str = "for the data plane, which reads it itself";

/// What OpenVidu's and Millrace's own names begin with.
const PREFIXES: &[&str] = &["OPENVIDU_", "COTURN_", "KMS_", "MEDIA_NODES_", "HTTPS_", "MILLRACE_"];

/// The entry of a name; that of its family, when it has none of its own.
pub(super) fn unneeded(name: &str) -> Option<&'static Unneeded> {
    let of_family = |known: &str| known.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix));
    UNNEEDED.iter().find(|known| known.name == name || of_family(known.name))
}

/// Whether it is a key of this server or one that is not needed.
pub(super) fn is_known(name: &str) -> bool {
    KEYS.iter().any(|key| key.env == name)
        || [OLD_DOMAIN, super::DOTENV_PATH].contains(&name)
        || unneeded(name).is_some()
}

/// Whether an unknown name in the environment, where others keep theirs too, must be meant for us.
pub(super) fn is_ours(name: &str) -> bool {
    ["OPENVIDU_", "COTURN_", "MILLRACE_"].iter().any(|prefix| name.starts_with(prefix))
}

/// What to say, when the server starts, of a name that has no effect: nothing where nobody misses it.
pub(super) fn warning(name: &str, value: &str) -> Option<String> {
    if let Some(known) = unneeded(name) {
        let Missed::Unless(off) = known.missed else { return None };
        let is_missed = !value.is_empty() && !off.iter().any(|off| value.eq_ignore_ascii_case(off));
        return is_missed.then(|| format!("{name} has no effect: {}", known.why));
    }
    let looks_like_ours = PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || nearest(name).is_some();
    (looks_like_ours && !is_known(name)).then(|| unknown(name))
}

/// What to say of a name that nobody knows.
pub(super) fn unknown(name: &str) -> String {
    match nearest(name) {
        Some(near) => format!("{name} is not a known key: is {near} meant?"),
        None => format!("{name} is not a known key"),
    }
}

/// The known name that a misspelt one is most likely meant to be.
fn nearest(name: &str) -> Option<&'static str> {
    let known = KEYS.iter().map(|key| key.env).chain(UNNEEDED.iter().map(|key| key.name));
    let upper = name.to_ascii_uppercase();
    // A name of a few letters is near to many.
    let allowed = (name.len() / 6).clamp(1, 3);
    let near = known.filter(|known| !known.ends_with('*')).map(|known| (distance(&upper, known), known)).min()?;
    (near.0 <= allowed && name.len() > 4).then_some(near.1)
}

/// Letters to insert, remove, replace or swap with their neighbour to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = [vec![0; b.len() + 1], (0..=b.len()).collect(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        let [before, above, row] = &mut rows;
        row[0] = i;
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        for (a, b, expected) in
            [("", "abc", 3), ("abc", "abc", 0), ("abcd", "abdc", 1), ("abc", "xbcd", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn misspelt_names_are_recognised_and_others_left_alone() {
        for (name, meant) in [
            ("OPENVIDU_SECRT", Some("OPENVIDU_SECRET")),
            ("OPENVIDU_WEBHOOK_EVENT", Some("OPENVIDU_WEBHOOK_EVENTS")),
            ("HTTPS_PROT", Some("HTTPS_PORT")),
            ("openvidu_cdr", Some("OPENVIDU_CDR")),
            ("DOMAIN_OR_PUBLIC_IPS", Some("DOMAIN_OR_PUBLIC_IP")),
            ("OPENVIDU_NOTHING_LIKE_IT", None),
            ("WHATEVER", None),
            ("PATH", None),
        ] {
            assert_eq!(nearest(name), meant, "{name}");
        }
    }
}
