//! From what is written to what can be run: every value checked, every mistake kept, nothing guessed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::friendly::SpanParser;
use serde_yaml::Spanned;

use super::low::{self, Low};
use super::tls::{self, Tls};
use super::{Config, ConfigFault, Database, Mistake, Public, UpstreamTls};
use crate::base::fault::Fault;
use crate::base::secret::Secret;
use crate::http::Rate;
use crate::policy::Enforcement;
use crate::secrets::Reference;

/// Shorter operator tokens can be guessed.
const MIN_OPERATOR_TOKEN: usize = 22;
/// A schema is looked at no more often, and no less often.
const SCHEMA_POLL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(5);
/// The shortest key of masks, in bytes: 128 bits in hexadecimal.
const SHORTEST_MASK_KEY: usize = 32;

/// Collects mistakes.
struct Check<'a> {
    path: &'a str,
    mistakes: Vec<Mistake>,
    now: Timestamp,
}

pub fn check<I, R, C>(low: Low<I, R, C>, path: &str, now: Timestamp) -> Result<Config<I, R, C>, ConfigFault> {
    let mut check = Check {
        path,
        mistakes: Vec::new(),
        now,
    };
    let http = check.socket(&low.listen.http);
    let postgres = check.socket(&low.listen.postgres);
    let loopback = [http, postgres]
        .iter()
        .flatten()
        .all(|address| address.ip().is_loopback());
    let public = check.public(low.public.as_ref(), &low.listen, (http, postgres));
    let tls = low.tls.as_ref().and_then(|tls| check.tls(tls, public.as_ref()));
    if low.tls.is_none() && !loopback {
        check.mistake(
            &low.listen.http,
            "tls-missing",
            "without `tls:` both listeners must be on loopback",
            "add `tls: { certificate: \"file:…\", key: \"file:…\" }`, or listen on 127.0.0.1",
        );
    }
    let state = check.state_directory(&low.state.directory);
    let policies = check.policy_directory(&low.policies.directory);
    let operator_token = low
        .operator_token
        .as_ref()
        .and_then(|token| check.operator_token(token));
    let rate = check.rate(low.rate_limit.as_ref());
    let schema_poll = check.schema_poll(low.schema_poll.as_ref());
    if low.issuers.value.is_empty() {
        check.mistake(
            &low.issuers,
            "config-invalid",
            "there is no issuer",
            "name at least one CI under `issuers:`",
        );
    }
    if low.databases.value.is_empty() {
        check.mistake(
            &low.databases,
            "config-invalid",
            "there is no database",
            "name at least one under `databases:`",
        );
    }
    let databases = low
        .databases
        .value
        .iter()
        .filter_map(|(name, database)| Some((name.clone(), check.database(database)?)));
    let databases: BTreeMap<_, _> = databases.collect();
    match (http, postgres, public, state, policies) {
        (Some(http), Some(postgres), Some(public), Some(state), Some(policies)) if check.mistakes.is_empty() => {
            Ok(Config {
                http,
                postgres,
                public,
                tls,
                state,
                policies,
                operator_token,
                durability: low.durability,
                rate,
                schema_poll,
                issuers: low.issuers.value,
                databases,
                repositories: low.repositories,
                ceilings: low.ceilings,
            })
        }
        _ => Err(ConfigFault {
            mistakes: check.mistakes,
        }),
    }
}

impl Check<'_> {
    fn mistake<T>(&mut self, at: &Spanned<T>, code: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.mistakes.push(Mistake {
            path: self.path.to_owned(),
            line: at.referenced.line(),
            column: at.referenced.column(),
            code,
            message: message.into(),
            fix: fix.into(),
        });
    }

    fn socket(&mut self, text: &Spanned<String>) -> Option<SocketAddr> {
        let parsed = text.value.parse().ok();
        if parsed.is_none() {
            let message = format!("`{}` is not an address to listen on", text.value);
            self.mistake(
                text,
                "config-invalid",
                message,
                "write it like \"0.0.0.0:8443\" or \"[::1]:6432\"",
            );
        }
        parsed
    }

    /// Loopback listeners are their own public address unless the file says otherwise.
    fn public(
        &mut self,
        public: Option<&low::Public>,
        listen: &low::Listen,
        listeners: (Option<SocketAddr>, Option<SocketAddr>),
    ) -> Option<Public> {
        let Some(public) = public else {
            let (http, postgres) = (listeners.0?, listeners.1?);
            if !(http.ip().is_loopback() && postgres.ip().is_loopback()) {
                let fix = "add `public: { http: \"https://…\", postgres: \"host:6432\" }`";
                self.mistake(
                    &listen.http,
                    "config-invalid",
                    "jobs must be told where to reach the broker",
                    fix,
                );
                return None;
            }
            let host = match postgres.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            return Some(Public {
                http: format!("http://{http}"),
                host,
                port: postgres.port(),
            });
        };
        let url = self.public_url(&public.http);
        let (host, port) = self.host_port(&public.postgres)?;
        Some(Public { http: url?, host, port })
    }

    fn public_url(&mut self, text: &Spanned<String>) -> Option<String> {
        let url = url::Url::parse(&text.value).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
        });
        if url.is_none() {
            let message = "this is not the URL of a broker";
            self.mistake(
                text,
                "config-invalid",
                message,
                "write it like \"https://db-broker.example.com\", without a path",
            );
        }
        url.map(|url| url.as_str().trim_end_matches('/').to_owned())
    }

    fn host_port(&mut self, text: &Spanned<String>) -> Option<(String, u16)> {
        // Reading it as the authority of a URL checks the host and knows brackets.
        let url = url::Url::parse(&format!("postgresql://{}", text.value)).ok();
        let parts = url.as_ref().and_then(|url| {
            let bare = url.path().is_empty() && url.query().is_none() && url.fragment().is_none();
            let host = url
                .host_str()
                .filter(|host| bare && url.username().is_empty() && !host.is_empty())?;
            Some((host.to_owned(), url.port()?))
        });
        if parts.is_none() {
            let fix = "write it like \"db.internal:5432\" or \"[2001:db8::1]:5432\"";
            self.mistake(
                text,
                "config-invalid",
                format!("`{}` is not host:port", text.value),
                fix,
            );
        }
        parts
    }

    fn secret(&mut self, text: &Spanned<String>) -> Option<Secret> {
        match Reference::parse(&text.value).and_then(|reference| reference.fetch()) {
            Ok(secret) => Some(secret),
            Err(fault) => {
                let fix = fault.fix().unwrap_or_default().into_owned();
                self.mistake(text, fault.code(), fault.to_string(), fix);
                None
            }
        }
    }

    /// A file that is no secret but is referred to like one.
    fn file(&mut self, text: &Spanned<String>) -> Option<String> {
        self.secret(text).map(|content| content.expose().to_owned())
    }

    fn tls(&mut self, tls: &Spanned<low::Tls>, public: Option<&Public>) -> Option<Tls> {
        let low::Tls { certificate, key, ca } = &tls.value;
        let ca_pem = match ca {
            None => None,
            Some(ca) => Some(self.ca(ca)?),
        };
        let (chain, secret) = (self.file(certificate), self.secret(key));
        let read = match Tls::read(&chain?, &secret?, ca_pem, self.now) {
            Ok(read) => read,
            Err(error) => {
                let of_key = matches!(error, tls::TlsMistake::NoKey | tls::TlsMistake::Key(_));
                let at = if of_key { key } else { certificate };
                let fix = "renew it, or name the files that belong together";
                self.mistake(at, tls_code(&error), format!("{}: {error}", at.value), fix);
                return None;
            }
        };
        if let Some(public) = public {
            let url = url::Url::parse(&public.http).ok();
            let http = url
                .as_ref()
                .and_then(|url| url.host_str())
                .unwrap_or_default()
                .to_owned();
            for host in std::collections::BTreeSet::from([public.host.clone(), http]) {
                if let Err(error) = read.names(&host) {
                    let fix = "jobs connect with verify-full: issue it for every host under `public:`";
                    self.mistake(certificate, tls_code(&error), error.to_string(), fix);
                }
            }
        }
        Some(read)
    }

    fn ca(&mut self, text: &Spanned<String>) -> Option<String> {
        let pem = self.file(text)?;
        match tls::certificates(&pem) {
            Ok(_) => Some(pem),
            Err(error) => {
                let fix = "name a PEM file with the CA's certificate";
                self.mistake(text, "certificate-invalid", format!("{}: {error}", text.value), fix);
                None
            }
        }
    }

    fn operator_token(&mut self, text: &Spanned<String>) -> Option<Secret> {
        let token = self.secret(text)?;
        if token.expose().len() < MIN_OPERATOR_TOKEN {
            let fix = "use at least 128 random bits: `openssl rand -base64 24`";
            self.mistake(text, "config-invalid", "the operator's token is too short", fix);
            return None;
        }
        Some(token)
    }

    fn state_directory(&mut self, text: &Spanned<String>) -> Option<PathBuf> {
        let path = PathBuf::from(&text.value);
        // Writing is the only honest test: permissions, read-only mounts and full disks all show here.
        let made = std::fs::DirBuilder::new().recursive(true).create(&path);
        let probe = made.and_then(|()| {
            let mut probe = tempfile::NamedTempFile::new_in(&path)?;
            std::io::Write::write_all(&mut probe, b"a broker was here")
        });
        if let Err(error) = probe {
            let message = format!("the state directory {} cannot be written: {error}", path.display());
            let fix = "give the broker's user a directory of its own on a disk with room";
            self.mistake(text, "state-not-writable", message, fix);
            return None;
        }
        Some(path)
    }

    fn policy_directory(&mut self, text: &Spanned<String>) -> Option<PathBuf> {
        let path = PathBuf::from(&text.value);
        if let Err(error) = std::fs::read_dir(Path::new(&path)) {
            let message = format!("the policy directory {} cannot be read: {error}", path.display());
            self.mistake(
                text,
                "policies-unreadable",
                message,
                "mount the repositories' policies there",
            );
            return None;
        }
        Some(path)
    }

    fn rate(&mut self, low: Option<&Spanned<low::RateLimit>>) -> Rate {
        let Some(low) = low else {
            return Rate::default();
        };
        let (per_second, burst) = (NonZeroU32::new(low.value.per_second), NonZeroU32::new(low.value.burst));
        if let (Some(per_second), Some(burst)) = (per_second, burst) {
            return Rate { per_second, burst };
        }
        self.mistake(
            low,
            "config-invalid",
            "a rate of zero lets nobody in",
            "write at least 1",
        );
        Rate::default()
    }

    /// The longest unless the file says less.
    fn schema_poll(&mut self, low: Option<&Spanned<String>>) -> Duration {
        let longest = *SCHEMA_POLL.end();
        let Some(low) = low else { return longest };
        let parsed = SpanParser::new().parse_unsigned_duration(&low.value).ok();
        let fitting = parsed.filter(|every| SCHEMA_POLL.contains(every));
        if fitting.is_none() {
            self.mistake(
                low,
                "config-invalid",
                format!("`{}` is not a time between 100ms and 5s", low.value),
                "write it with its unit: 1s, 500ms",
            );
        }
        fitting.unwrap_or(longest)
    }

    fn database(&mut self, low: &low::Database) -> Option<Database> {
        let before = self.mistakes.len();
        let address = self.host_port(&low.address);
        for name in [&low.database, &low.login.user] {
            if name.value.is_empty() || name.value.contains('\0') || name.value.len() > 63 {
                self.mistake(
                    name,
                    "config-invalid",
                    "this is not a PostgreSQL name",
                    "write 1 to 63 bytes",
                );
            }
        }
        let tls = self.upstream_tls(&low.tls, address.as_ref().map(|(host, _)| host.as_str()));
        let password = self.secret(&low.login.password);
        let mask_key = low.mask_key.as_ref().and_then(|key| self.mask_key(key));
        let (host, port) = address?;
        (self.mistakes.len() == before).then_some(())?;
        Some(Database {
            host,
            port,
            database: low.database.value.clone(),
            tls: tls?,
            user: low.login.user.value.clone(),
            password: password?,
            enforcement: match low.enforcement.as_ref().map(|enforcement| enforcement.value) {
                Some(low::Enforcement::Role) => Enforcement::Role,
                Some(low::Enforcement::Shared) | None => Enforcement::Shared,
            },
            mask_key,
        })
    }

    /// A key short enough to be guessed would turn tokens back into values.
    fn mask_key(&mut self, reference: &Spanned<String>) -> Option<Secret> {
        let key = self.secret(reference)?;
        if key.expose().len() < SHORTEST_MASK_KEY {
            let fix = "draw one: openssl rand -hex 32";
            let what = format!("the key of masks is shorter than {SHORTEST_MASK_KEY} bytes");
            self.mistake(reference, "config-invalid", what, fix);
            return None;
        }
        Some(key)
    }

    fn upstream_tls(&mut self, low: &Spanned<low::UpstreamTls>, host: Option<&str>) -> Option<UpstreamTls> {
        if low.value.mode == low::Mode::Disable {
            if host.is_some_and(|host| !is_loopback(host)) {
                let fix = "write `tls: { mode: verify-full, ca: \"file:…\" }`";
                self.mistake(
                    low,
                    "tls-missing",
                    "only a database on loopback may be reached without TLS",
                    fix,
                );
            }
            if let Some(ca) = &low.value.ca {
                self.mistake(
                    ca,
                    "config-invalid",
                    "`ca` says nothing under `mode: disable`",
                    "remove one of the two",
                );
            }
            return Some(UpstreamTls::Disable);
        }
        let ca = match &low.value.ca {
            None => None,
            Some(ca) => Some(self.ca(ca)?),
        };
        Some(UpstreamTls::VerifyFull { ca })
    }
}

fn is_loopback(host: &str) -> bool {
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || ip.is_some_and(|ip| ip.to_canonical().is_loopback())
}

fn tls_code(error: &tls::TlsMistake) -> &'static str {
    match error {
        tls::TlsMistake::Expired(_) | tls::TlsMistake::NotYet(_) => "certificate-expired",
        tls::TlsMistake::KeyMismatch => "certificate-key-mismatch",
        tls::TlsMistake::WrongName(_) => "certificate-wrong-name",
        tls::TlsMistake::NoCertificate
        | tls::TlsMistake::NoKey
        | tls::TlsMistake::Damaged(_)
        | tls::TlsMistake::Key(_) => "certificate-invalid",
    }
}
