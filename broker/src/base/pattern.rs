//! Globs: `*` stays inside one segment, `**` crosses the separator. Nothing else is special, and nothing else is accepted.

use std::fmt;
use std::sync::Arc;

/// A compiled glob over text whose segments are split by one separator (`/` for refs and paths, `.` for relations).
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Shared: a preset's patterns stand in every scope that names it.
    text: Arc<str>,
    separator: char,
}

/// Why a text is not a glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAPattern {
    /// The text is empty.
    #[error("an empty pattern matches nothing")]
    Empty,
    /// The text looks like a regular expression.
    #[error("this looks like a regular expression; globs use * and **")]
    Regex,
    /// Control characters never stand in a name.
    #[error("a pattern cannot contain control characters")]
    Control,
}

impl Pattern {
    /// Compiles `text`. `separator` is the character `*` does not cross.
    pub fn new(text: &str, separator: char) -> Result<Self, NotAPattern> {
        if text.is_empty() {
            return Err(NotAPattern::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(NotAPattern::Control);
        }
        let regex_dot_star = separator != '.' && text.contains(".*");
        if regex_dot_star || text.contains(['|', '(', ')', '^', '\\', '[', ']', '{', '}', '+', '?', '$']) {
            return Err(NotAPattern::Regex);
        }
        Ok(Self {
            text: text.into(),
            separator,
        })
    }

    /// True when `name` matches as a whole. A wildcard never matches an empty segment, `.`/`..` as a path segment, or a
    /// control character, so that `acme/*` does not cover `acme/` or `acme/..`.
    pub fn matches(&self, name: &str) -> bool {
        if self.is_literal() {
            return *self.text == *name;
        }
        if name.chars().any(char::is_control) {
            return false;
        }
        if name
            .split(self.separator)
            .any(|segment| segment.is_empty() || segment == "." || segment == "..")
        {
            return false;
        }
        let pattern: Vec<char> = self.text.chars().collect();
        let name: Vec<char> = name.chars().collect();
        glob(&pattern, &name, self.separator)
    }

    /// True when the pattern names exactly one thing.
    pub fn is_literal(&self) -> bool {
        !self.text.contains('*')
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Backtracks only to the last `*` and the last `**`, so the cost is bounded by pattern × name, not exponential.
fn glob(pattern: &[char], name: &[char], separator: char) -> bool {
    // reachable[j]: pattern[..i] matches name[..j]
    let mut reachable = vec![false; name.len() + 1];
    if let Some(first) = reachable.first_mut() {
        *first = true;
    }
    let mut i = 0;
    while let Some(&symbol) = pattern.get(i) {
        let deep = symbol == '*' && pattern.get(i + 1) == Some(&'*');
        let mut next = vec![false; name.len() + 1];
        if symbol == '*' {
            let mut open = false;
            for j in 0..=name.len() {
                // Crossing a separator closes a single star.
                if j > 0 && !deep && name.get(j - 1) == Some(&separator) {
                    open = false;
                }
                open |= reachable.get(j).copied().unwrap_or(false);
                if let Some(slot) = next.get_mut(j) {
                    *slot = open;
                }
            }
        } else {
            for (j, &letter) in name.iter().enumerate() {
                if letter == symbol
                    && reachable.get(j).copied().unwrap_or(false)
                    && let Some(slot) = next.get_mut(j + 1)
                {
                    *slot = true;
                }
            }
        }
        reachable = next;
        i += if deep { 2 } else { 1 };
    }
    reachable.last().copied().unwrap_or(false)
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, name: &str) -> bool {
        let separator = if pattern.contains('/') || name.contains('/') {
            '/'
        } else {
            '.'
        };
        Pattern::new(pattern, separator).unwrap().matches(name)
    }

    #[test]
    fn star_stays_inside_a_segment_and_double_star_crosses() {
        assert!(covers("release/*", "release/1.2"));
        assert!(!covers("release/*", "release/1/2"));
        assert!(covers("release/**", "release/1/2"));
        assert!(covers("app.*", "app.orders"));
        assert!(!covers("app.*", "app.a.b"));
        assert!(!covers("app.*", "apps.orders"));
        assert!(covers("app.order_*", "app.order_lines"));
    }

    #[test]
    fn a_wildcard_never_covers_an_empty_or_dot_segment() {
        for name in ["acme/", "acme/..", "acme/.", "acme/a\nb"] {
            assert!(!covers("acme/*", name), "{name:?}");
            assert!(!covers("acme/**", name), "{name:?}");
        }
    }

    #[test]
    fn regular_expressions_are_refused_by_name() {
        for text in ["main|dev", "^main", "a(b)", r"a\d", "release/.*"] {
            assert_eq!(Pattern::new(text, '/'), Err(NotAPattern::Regex), "{text}");
        }
        assert!(Pattern::new("app.*", '.').is_ok());
    }

    #[test]
    fn a_hostile_pattern_stays_polynomial() {
        let pattern = Pattern::new(&"*a".repeat(60), '/').unwrap();
        assert!(!pattern.matches(&"a".repeat(59)));
        assert!(pattern.matches(&"a".repeat(60)));
    }
}
