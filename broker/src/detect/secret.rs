//! Tokens and keys, by the shapes that their issuers gave them.

use memchr::memmem;

use super::find::Text;

/// What a key is made of.
#[derive(Clone, Copy)]
enum Of {
    /// Letters and digits.
    Letters,
    /// Capitals and digits.
    Capitals,
    /// Letters, digits, `-` and `_`.
    Url,
    /// Letters, digits, `-`, `_` and points.
    Dotted,
    /// Letters, digits and slashes.
    Path,
}

impl Of {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Letters => byte.is_ascii_alphanumeric(),
            Self::Capitals => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Path => byte.is_ascii_alphanumeric() || byte == b'/',
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
        }
    }
}

/// Prefixes, what follows them, and how much of it at least.
const PREFIXES: &[(&[u8], Of, usize)] = &[
    // Amazon.
    (b"AKIA", Of::Capitals, 16),
    (b"ASIA", Of::Capitals, 16),
    (b"ABIA", Of::Capitals, 16),
    (b"ACCA", Of::Capitals, 16),
    // GitHub.
    (b"ghp_", Of::Letters, 30),
    (b"gho_", Of::Letters, 30),
    (b"ghu_", Of::Letters, 30),
    (b"ghs_", Of::Dotted, 30),
    (b"ghr_", Of::Letters, 30),
    (b"github_pat_", Of::Url, 22),
    // GitLab.
    (b"glpat-", Of::Dotted, 20),
    (b"gldt-", Of::Url, 20),
    (b"glrt-", Of::Dotted, 20),
    (b"glcbt-", Of::Url, 20),
    (b"glptt-", Of::Url, 20),
    (b"glft-", Of::Url, 20),
    (b"glsoat-", Of::Url, 20),
    (b"gloas-", Of::Url, 20),
    // Slack.
    (b"xoxa-", Of::Url, 10),
    (b"xoxb-", Of::Url, 10),
    (b"xoxe-", Of::Url, 10),
    (b"xoxe.", Of::Dotted, 10),
    (b"xoxp-", Of::Url, 10),
    (b"xoxr-", Of::Url, 10),
    (b"xoxs-", Of::Url, 10),
    (b"xapp-", Of::Url, 10),
    (b"hooks.slack.com/services/T", Of::Path, 20),
    // Stripe.
    (b"sk_live_", Of::Letters, 16),
    (b"sk_test_", Of::Letters, 16),
    (b"rk_live_", Of::Letters, 16),
    (b"rk_test_", Of::Letters, 16),
    (b"whsec_", Of::Letters, 16),
    // Google.
    (b"AIza", Of::Url, 35),
    (b"GOCSPX-", Of::Url, 20),
    (b"ya29.", Of::Url, 20),
    // Package registries.
    (b"npm_", Of::Letters, 30),
    (b"pypi-AgE", Of::Url, 50),
    (b"rubygems_", Of::Letters, 48),
    // Others.
    (b"SG.", Of::Dotted, 40),
    (b"dop_v1_", Of::Letters, 40),
    (b"hf_", Of::Letters, 30),
    (b"hvs.", Of::Url, 24),
    (b"hvb.", Of::Url, 24),
    (b"shpat_", Of::Letters, 32),
    (b"shpss_", Of::Letters, 32),
    (b"sk-ant-", Of::Url, 20),
    (b"sk-proj-", Of::Url, 20),
    (b"sk-", Of::Letters, 40),
];

/// Where the token ends that begins at `at`. `not_before` is a place before which no web token begins: what was read in vain
/// is not read again.
pub fn token(text: &Text<'_>, at: usize, not_before: &mut usize) -> Option<usize> {
    let rest = text.from(at);
    match rest.first() {
        Some(b'-') => {
            let length = private_key(rest);
            text.looked(length.unwrap_or(64));
            length.map(|length| at + length)
        }
        Some(b'e') if rest.starts_with(b"eyJ") && at >= *not_before => {
            let (length, is_token) = web_token(rest);
            text.looked(length);
            if !is_token {
                *not_before = at + length;
            }
            is_token.then_some(at + length)
        }
        Some(_) => {
            let length = known(rest);
            text.looked(length.unwrap_or(64));
            length.map(|length| at + length)
        }
        None => None,
    }
}

fn known(rest: &[u8]) -> Option<usize> {
    // Two letters tell most words from all of them.
    let [first, second, ..] = rest else { return None };
    let may = STARTS.get(usize::from(*first)).copied().unwrap_or_default();
    if may & (1 << (second & 31)) == 0 {
        return None;
    }
    let fits = |(prefix, of, least): &(&[u8], Of, usize)| {
        let body = rest.strip_prefix(*prefix)?;
        let length = body
            .iter()
            .take_while(|byte| of.has(**byte))
            .take(usize::from(u16::MAX))
            .count();
        // A point at the end is the sentence's.
        let points = body.iter().take(length).rev().take_while(|byte| **byte == b'.').count();
        let length = length - points;
        (length >= *least).then_some(prefix.len() + length)
    };
    PREFIXES.iter().find_map(fits)
}

/// By the first byte of a prefix, the last five bits of its second one.
const STARTS: [u32; 256] = {
    let mut starts = [0_u32; 256];
    let mut rest = PREFIXES;
    while let [(prefix, _, _), after @ ..] = rest {
        if let [first, second, ..] = *prefix {
            #[expect(clippy::indexing_slicing, reason = "computed when it is compiled")]
            {
                starts[*first as usize] |= 1 << (*second & 31);
            }
        }
        rest = after;
    }
    starts
};

/// A header, a payload and a signature, which may be empty; five parts where it is encrypted. The length of what was read,
/// and whether it is a token.
fn web_token(rest: &[u8]) -> (usize, bool) {
    let part = |from: usize| {
        let part = rest.get(from..).unwrap_or_default();
        part.iter().take_while(|byte| Of::Url.has(**byte)).count()
    };
    let is_point = |at: usize| rest.get(at) == Some(&b'.');
    let header = part(0);
    if header < 10 || !is_point(header) {
        return (header, false);
    }
    let mut end = header + 1 + part(header + 1);
    // A token of five parts has none in the second.
    if end - header < 5 && !is_point(end) {
        return (header, false);
    }
    for further in 0..3 {
        let length = part(end + 1);
        // Only the signature, the third part, may be empty: another point is the sentence's.
        if is_point(end) && (further == 0 || length > 0) {
            end += 1 + length;
        }
    }
    (end + wrapped(rest.get(end..).unwrap_or_default()), true)
}

/// The lines that go on with a token: nothing else is on them, and they are long.
fn wrapped(rest: &[u8]) -> usize {
    /// Shorter ones may be anything.
    const LINE: usize = 16;
    let mut length = 0;
    loop {
        let after = rest.get(length..).unwrap_or_default();
        let width = match after {
            [b'\r', b'\n', ..] | [b'\\', b'n', ..] => 2,
            [b'\n', ..] => 1,
            _ => return length,
        };
        let line = after.get(width..).unwrap_or_default();
        let of = line.iter().take_while(|byte| Of::Dotted.has(**byte)).count();
        let word = line.get(..of).unwrap_or_default();
        let mixed = word.iter().any(u8::is_ascii_uppercase) && word.iter().any(u8::is_ascii_lowercase);
        if of < LINE || !mixed {
            return length;
        }
        length += width + of - word.iter().rev().take_while(|byte| **byte == b'.').count();
    }
}

/// From `-----BEGIN … PRIVATE KEY` to its end, or as far as the text goes.
fn private_key(rest: &[u8]) -> Option<usize> {
    const MARK: &[u8] = b"PRIVATE KEY";
    const END: &[u8] = b"-----END";
    if !rest.starts_with(b"-----BEGIN ") {
        return None;
    }
    let title = rest.get(..64).unwrap_or(rest);
    memmem::find(title, MARK)?;
    let inside = |byte: &u8| !matches!(byte, b'\t' | b'"' | 0..=8 | 11 | 12 | 14..=31 | 127..);
    let all = rest.iter().take_while(|byte| inside(byte)).count();
    let all = rest.get(..all).unwrap_or_default().trim_ascii_end();
    let Some(end) = memmem::find(all, END) else {
        return Some(all.len());
    };
    let tail = all.get(end + END.len()..).unwrap_or_default();
    let close = memmem::find(tail, b"-----");
    Some(close.map_or(all.len(), |close| end + END.len() + close + 5))
}
