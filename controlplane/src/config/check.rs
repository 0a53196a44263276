//! `check-config`: what a configuration amounts to, for the person who wrote it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;

use clap::ArgMatches;
use reqwest::Url;

use super::events::default_events;
use super::keys::{KEYS, Key, is_secret};
use super::sources::Sources;
use super::unneeded::{UNNEEDED, is_known, is_ours, unknown, unneeded};
use super::values::Values;
use super::{CHECK, Config, FILE, Generation, LoadError, Problem, command, problems_of_files};

/// Everything there is to say of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// For the terminal, with a line's end at its end.
    pub text: String,
    /// What keeps the server from starting.
    pub problems: Vec<Problem>,
}

/// One line of the effective configuration.
struct Row {
    key: &'static Key,
    value: String,
    /// Where the value comes from.
    origin: String,
}

impl Report {
    /// Of the given flags (program name and `check-config` first), environment, and text of the file. `file` is how
    /// the file is called in the report.
    ///
    /// # Errors
    /// [`LoadError::Usage`].
    pub fn new(
        args: impl IntoIterator<Item = OsString>,
        environment: &HashMap<String, String>,
        dotenv: &str,
        file: &str,
    ) -> Result<Self, LoadError> {
        let matches = command().try_get_matches_from(args).map_err(LoadError::Usage)?;
        let matches = matches.subcommand_matches(CHECK).unwrap_or(&matches);
        Ok(Self::of(matches, environment, dotenv, file))
    }

    pub(super) fn of(matches: &ArgMatches, environment: &HashMap<String, String>, dotenv: &str, file: &str) -> Self {
        let is_long = matches.try_get_one::<bool>("all").ok().flatten().is_some_and(|all| *all);
        let sources = Sources::collect(matches, environment, dotenv);
        let mut values = Values::new(sources.given.iter().map(|(env, (text, _))| (*env, text.clone())).collect());
        let config = Config::from_values(&mut values);
        let mut problems = values.problems;
        problems.extend(problems_of_files(&config));

        let mut text = format!("The configuration in {file}, the environment and the flags\n");
        let rows: Vec<Row> = KEYS.iter().map(|key| row(key, &config, &sources)).collect();
        let (given, defaults): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| sources.given.contains_key(row.key.env));
        section(&mut text, "Set", &given, true);
        section(&mut text, "By default", &defaults, is_long);
        not_needed(&mut text, &sources, environment, is_long);
        warnings(&mut text, &sources, environment);
        conclusion(&mut text, &problems);
        Self { text, problems }
    }
}

/// The keys with their values, aligned; what each means below it, when that is wanted.
fn section(text: &mut String, title: &str, rows: &[Row], with_meaning: bool) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    let width = rows.iter().map(|row| row.key.env.len()).max().unwrap_or_default();
    for Row { key, value, origin } in rows {
        let origin = if origin.is_empty() { String::new() } else { format!("  ({origin})") };
        let _ = writeln!(text, "  {:width$}  {value}{origin}", key.env);
        if with_meaning {
            let meaning = key.help.split(" [default:").next().unwrap_or(key.help);
            let _ = writeln!(text, "  {:width$}  {meaning}", "");
        }
    }
}

fn not_needed(text: &mut String, sources: &Sources, environment: &HashMap<String, String>, is_long: bool) {
    let in_environment = environment.keys().filter(|name| !sources.is_in_file(name) && is_ours(name));
    let given = sources.file.iter().map(|(name, _)| name).chain(in_environment);
    let mut found: Vec<(&str, &str)> =
        given.filter(|name| !is_key(name)).filter_map(|name| Some((name.as_str(), unneeded(name)?.why))).collect();
    if is_long {
        let all = UNNEEDED.iter().map(|known| (known.name, known.why));
        let more: Vec<_> = all.filter(|(name, _)| !found.iter().any(|(known, _)| known == name)).collect();
        found.extend(more);
    }
    if found.is_empty() {
        return;
    }
    let title = if is_long { "Known, and not needed here" } else { "Given, and not needed here" };
    let _ = writeln!(text, "\n{title}");
    let width = found.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, why) in found {
        let _ = writeln!(text, "  {name:width$}  {why}");
    }
}

fn is_key(name: &str) -> bool {
    KEYS.iter().any(|key| key.env == name)
}

fn warnings(text: &mut String, sources: &Sources, environment: &HashMap<String, String>) {
    let mut warnings = sources.complaints.clone();
    warnings.extend(sources.file.iter().filter(|(name, _)| !is_known(name)).map(|(name, _)| unknown(name)));
    let strange = environment.keys().filter(|name| is_ours(name) && !is_known(name) && !sources.is_in_file(name));
    let mut strange: Vec<_> = strange.map(|name| format!("{} (environment)", unknown(name))).collect();
    strange.sort();
    warnings.extend(strange);
    if !warnings.is_empty() {
        let _ = writeln!(text, "\nWarnings");
        for warning in warnings {
            let _ = writeln!(text, "  {warning}");
        }
    }
}

fn conclusion(text: &mut String, problems: &[Problem]) {
    match problems.len() {
        0 => {
            let _ = writeln!(text, "\nThe server can start with it.");
        }
        count => {
            let things = if count == 1 { "this is" } else { "these are" };
            let _ = writeln!(text, "\nThe server cannot start until {things} put right:");
            for problem in problems {
                let _ = writeln!(text, "  {problem}");
            }
        }
    }
}

fn row(key: &'static Key, config: &Config, sources: &Sources) -> Row {
    let given = sources.given.get(key.env).filter(|(text, _)| !text.trim().is_empty());
    let origin = given.map_or_else(String::new, |(_, origin)| origin.to_string());
    let stated = given.map_or(key.default, |(text, _)| text.trim());
    let (value, because) = effective(key.env, config, stated).unwrap_or_else(|| (stated.to_owned(), ""));
    let shown = match (value.as_str(), is_secret(key.env)) {
        ("", _) => "(none)".to_owned(),
        ("[]", _) | (_, false) => without_password(&value),
        (_, true) => "…".to_owned(),
    };
    let origin = match (origin.is_empty(), because.is_empty()) {
        (_, true) => origin,
        (true, false) => because.to_owned(),
        (false, false) => format!("{origin}; {because}"),
    };
    Row { key, value: shown, origin }
}

/// The value in effect with the reason, where it is not what stands there.
fn effective(env: &str, config: &Config, stated: &str) -> Option<(String, &'static str)> {
    let found = match env {
        "DOMAIN_OR_PUBLIC_IP" => (config.domain_or_public_ip.clone(), ""),
        "OPENVIDU_SECRET" if stated.is_empty() => (config.secret.clone(), "of MILLRACE_DEV"),
        "SERVER_PORT" if stated.is_empty() && config.server_port != 0 => {
            (config.server_port.to_string(), "as HTTPS_PORT")
        }
        "MILLRACE_TLS" if stated == "true" && !config.tls => ("false".to_owned(), "because of FORCE_PLAIN_HTTP"),
        "MILLRACE_DEMO" if stated.is_empty() => (config.demo.to_string(), "as MILLRACE_DEV"),
        "COTURN_IP" if config.coturn_host == config.domain_or_public_ip => {
            (config.coturn_host.clone(), "as DOMAIN_OR_PUBLIC_IP")
        }
        "COTURN_SHARED_SECRET_KEY" if stated.is_empty() => (config.coturn_secret.clone(), "as OPENVIDU_SECRET"),
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC" if stated != config.streams.forced_video_codec.name() => {
            (config.streams.forced_video_codec.name().to_owned(), "of OPENVIDU_COMPAT=2.20")
        }
        "OPENVIDU_WEBHOOK_EVENTS" if stated == key_default(env) && config.compat == Generation::V2_20 => {
            (format!("[{}]", default_events(config.compat).join(",")), "of OPENVIDU_COMPAT=2.20")
        }
        _ => return None,
    };
    // What could not be read has no value in effect.
    (!found.0.is_empty()).then_some(found)
}

fn key_default(env: &str) -> &'static str {
    KEYS.iter().find(|key| key.env == env).map_or("", |key| key.default)
}

/// A URL may carry a user's name and password.
fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            let _ = url.set_password(Some("…"));
            url.to_string().replace("%E2%80%A6", "…")
        }
        _ => text.to_owned(),
    }
}

/// Where the file is that a report is about, as the command line names it.
pub(super) fn named_file(matches: &ArgMatches) -> Option<&String> {
    matches.get_one::<String>(FILE)
}
