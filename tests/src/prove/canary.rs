//! R16: what must appear nowhere, searched for in everything the broker wrote and answered, in the forms a careless
//! program gives it: as it is, base64 at any alignment, hexadecimal.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Aim, OPERATOR, Score};
use crate::House;
use crate::house::{Grant, LOGIN_PASSWORD};

const JTI: &str = "an ID token's jti";

/// Secrets handed out during a proof, and the answers they must not stand in.
#[derive(Debug, Default)]
pub struct Canaries {
    secrets: Vec<(&'static str, String)>,
    answers: Vec<String>,
}

impl Canaries {
    /// The secrets every house has.
    pub fn new() -> Self {
        let mut canaries = Self::default();
        canaries.secret("the broker's login password", LOGIN_PASSWORD);
        canaries.secret("the operator token", OPERATOR);
        canaries
    }

    /// A secret.
    pub fn secret(&mut self, kind: &'static str, value: &str) {
        self.secrets.push((kind, value.to_owned()));
    }

    /// A token: its signature is what must not leak, its claims are recorded on purpose.
    pub fn token(&mut self, token: &str) {
        if let Some(signature) = token.rsplit('.').next().filter(|signature| signature.len() > 40) {
            self.secret("an ID token's signature", signature);
        }
        if let Some(jti) = claim(token, "jti").filter(|jti| jti.len() >= 20) {
            self.secret(JTI, &jti);
        }
    }

    /// A grant's two secrets.
    pub fn grant(&mut self, grant: &Grant) {
        self.secret("an endpoint password", &grant.password());
        self.secret("a revoke token", &grant.revoke_token());
    }

    /// An answer of the API, or bytes an endpoint sent to its client.
    pub fn answer(&mut self, answer: impl Into<String>) {
        self.answers.push(answer.into());
    }

    /// Searches everything the house's processes wrote.
    pub async fn search(mut self, house: &House) -> anyhow::Result<Score> {
        for path in [
            "/metrics",
            "/readyz",
            "/healthz",
            "/.well-known/hoop-db-access",
            "/openapi.json",
            "/v1/grants/none",
        ] {
            let (_, answer) = house.api("GET", path, None, None).await?;
            self.answer(answer.to_string());
        }
        let mut places = vec![("the API's answers".to_owned(), self.answers.join("\n").into_bytes())];
        // The jobs' own backends: what the superuser ran to set up the house names the broker's password.
        let log = house.cluster.log()?;
        let jobs: Vec<&str> = log.lines().filter(|line| line.contains(" hoop ")).collect();
        places.push(("the server's log".to_owned(), jobs.join("\n").into_bytes()));
        places.push(("the broker's log".to_owned(), house.broker_log().into_bytes()));
        if let Ok(line) = fs::read(format!("/proc/{}/cmdline", house.broker_pid())) {
            places.push(("the broker's command line".to_owned(), line));
        }
        collect(&house.path("state"), &mut places)?;
        let mut score = Score::new(
            "R16",
            "secrets searched for in logs, ledger, store, answers, command line",
            Aim::of(1),
            Aim::of(1000),
        );
        // Every place, every form of every secret, in one pass over the place.
        let needles: Vec<(&'static str, Vec<String>)> =
            self.secrets.iter().map(|(kind, value)| (*kind, forms(value))).collect();
        score.n = u64::try_from(needles.len())?;
        for (place, bytes) in &places {
            let text = String::from_utf8_lossy(bytes);
            for (kind, forms) in &needles {
                // The store keeps a live grant's claims whole; the ledger and everything else only the jti's SHA-256.
                if *kind == JTI && place.starts_with("store.db") {
                    continue;
                }
                if forms.iter().any(|form| text.contains(form.as_str())) {
                    score.wrong(format!("{kind} stands in {place}"));
                }
            }
        }
        Ok(score)
    }
}

/// One claim of a token, unverified.
pub fn claim(token: &str, name: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims.get(name)?.as_str().map(str::to_owned)
}

/// How a secret looks as it is, in hexadecimal, and inside a longer base64 text at each of the three alignments.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![secret.to_owned(), hex.to_uppercase(), hex];
    for lead in 0..3 {
        let padded = [&b"\0\0"[..lead], secret.as_bytes()].concat();
        // The first and the last characters also depend on what stands around the secret.
        let whole = padded.len() / 3 * 4;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&padded)[if lead == 0 { 0 } else { 4 }..whole].to_owned());
        }
    }
    forms
}

fn collect(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, places)?;
        } else if path.is_file()
            // A journal that was chained in the meantime is in the chain.
            && let Ok(bytes) = fs::read(&path)
        {
            places.push((
                path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                bytes,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_in_its_surroundings() {
        let secret = "hdbp_0123456789abcdef";
        for lead in ["", "a", "ab", "abc"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{lead}{secret} and more"));
            assert!(
                forms(secret).iter().any(|form| encoded.contains(form)),
                "{lead}: {encoded}"
            );
        }
        assert!(forms("AB")[1..3].contains(&"4142".to_owned()));
    }
}
