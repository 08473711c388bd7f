//! "Did you mean …?": the known word nearest to a mistyped one.

/// The candidate nearest to `word`, when it is near enough to be a slip of the fingers.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A short word is one slip away from many others: there only the case may differ.
    let allowed = match word.chars().count() {
        0..=3 => 0,
        4..=5 => 1,
        6..=8 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// ``did you mean `x`?`` or, when nothing is near, what `otherwise` says.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    match nearest(word, candidates) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.to_owned(),
    }
}

/// Levenshtein's distance, with two swapped neighbours counted as one slip. Longer words than this are not slips.
fn distance(left: &str, right: &str) -> usize {
    const LONGEST: usize = 64;
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len() > LONGEST || right.len() > LONGEST {
        return usize::MAX;
    }
    let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut last_a = None;
    for (i, a) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        let mut last_b = None;
        for (j, b) in right.iter().enumerate() {
            let mut cost = (at(&row, j) + usize::from(a != b))
                .min(at(&row, j + 1) + 1)
                .min(at(&next, j) + 1);
            if j > 0 && last_a == Some(b) && last_b == Some(a) {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            next.push(cost);
            last_b = Some(b);
        }
        last_a = Some(a);
        before = std::mem::replace(&mut row, next);
    }
    at(&row, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        assert_eq!(nearest("migate", ["migrate", "extract"]), Some("migrate"));
        assert_eq!(nearest("Migrate", ["migrate"]), Some("migrate"));
        assert_eq!(nearest("tabels", ["tables", "columns"]), Some("tables"));
        assert_eq!(nearest("txet", ["text"]), Some("text"));
        assert_eq!(nearest("all", ["call"]), None);
        assert_eq!(nearest("zzz", ["migrate", "extract"]), None);
        assert_eq!(nearest(&"a".repeat(5000), ["aaaa"]), None);
    }
}
