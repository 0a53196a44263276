//! Where values come from: flags, the `.env` file, the environment.

use std::collections::HashMap;
use std::fmt;

use clap::ArgMatches;

use super::keys::KEYS;
use super::{OLD_DOMAIN, dotenv};

/// Where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Flag,
    File,
    Environment,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::File => ".env",
            Self::Environment => "environment",
        })
    }
}

/// Everything that was given.
#[derive(Debug)]
pub(super) struct Sources {
    /// The keys of this server: which text counts, and whence.
    pub(super) given: HashMap<&'static str, (String, Origin)>,
    /// All names of the file, in its order, each with the text that stands last.
    pub(super) file: Vec<(String, String)>,
    /// A sentence for each line of the file that is none.
    pub(super) complaints: Vec<String>,
}

impl Sources {
    /// A flag wins over the file, the file over the environment.
    pub(super) fn collect(matches: &ArgMatches, environment: &HashMap<String, String>, text: &str) -> Self {
        let (pairs, complaints) = dotenv::read(text);
        let mut file: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            match file.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => file.push((name, value)),
            }
        }
        let in_file = |name: &str| file.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        // An empty line in the file, as OpenVidu ships them for keys to fill in, is no value.
        let from_file = |name: &str| in_file(name).filter(|text| !text.is_empty()).map(|text| (text, Origin::File));
        let from_environment = |name: &str| environment.get(name).map(|text| (text, Origin::Environment));
        let mut given = HashMap::new();
        for key in KEYS {
            let flag = matches.get_one::<String>(key.env).map(|text| (text, Origin::Flag));
            let old = || (key.env == "DOMAIN_OR_PUBLIC_IP").then_some(OLD_DOMAIN);
            let found = flag
                .or_else(|| from_file(key.env))
                .or_else(|| from_environment(key.env))
                .or_else(|| old().and_then(|old| from_file(old).or_else(|| from_environment(old))));
            if let Some((text, origin)) = found {
                given.insert(key.env, (text.clone(), origin));
            }
        }
        Self { given, file, complaints }
    }

    pub(super) fn is_in_file(&self, name: &str) -> bool {
        self.file.iter().any(|(known, _)| known == name)
    }
}
