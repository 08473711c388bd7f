//! R17: random queries over tables with masked columns never bring back a planted secret, nor a row chosen by one.

use anyhow::{Context as _, Result};

use super::{Aim, Report, Rng, Score};
use crate::House;
use crate::raw::{Raw, bind, endpoint, execute, parse, query, sync};

/// Stands in every masked text of the fixture, and nowhere in a query.
const SECRETS: &[&str] = &["canary", "s3cr3t"];

/// The relations with what may be read of them; the first columns are masked.
const RELATIONS: &[(&str, &[&str])] = &[
    (
        "crm.people",
        &["email", "extra", "tags", "id", "name", "card", "born", "salary", "mood"],
    ),
    ("crm.staff", &["email", "extra", "id", "name", "desk"]),
    ("crm.parted", &["ssn", "id", "at"]),
    ("crm.parted_1", &["ssn", "id", "at"]),
    ("crm.orders", &["id", "person", "note", "total"]),
];

/// A house with the tables of the fixture, one scope that masks and one that does not.
pub async fn house(enforcement: &'static str) -> Result<House> {
    let mut plan = crate::roles::masked(enforcement);
    let scope = plan.policy.split_once("  masked:").context("the scope")?.1;
    let (bare, masks) = scope.split_once("    mask:").context("its masks")?;
    let limits = masks.split_once("    limits:").context("its limits")?.1;
    let limits = limits.lines().next().unwrap_or_default();
    plan.policy += &format!("\n  bare:{}\n    limits:{limits}\n", bare.trim_end());
    House::plan(plan).await
}

/// [`masks_under`] both kinds of enforcement.
pub async fn masks(seed: u64, count: u64) -> Result<Report> {
    let mut scores = Vec::new();
    for enforcement in ["shared", "role"] {
        scores.push(masks_under(enforcement, seed, count).await?);
    }
    Ok(Report { scores })
}

/// `count` queries under the scope that masks; then as many as it takes, and no more than a few hundred, under the one
/// that does not, where a secret has to be found.
async fn masks_under(enforcement: &'static str, seed: u64, count: u64) -> Result<Score> {
    let house = house(enforcement).await?;
    let name = match enforcement {
        "role" => "random queries over masked tables, enforced by PostgreSQL too",
        _ => "random queries over masked tables",
    };
    let mut score = Score::new("R17", name, Aim::of(2_000), Aim::of(20_000));
    let mut answered = 0;
    for (scope, most) in [("masked", count), ("bare", 400)] {
        let grant = house.grant(scope).await?;
        let mut peer = endpoint(&house, &grant, &[("database", "shop")]).await?;
        let mut found = false;
        for number in 0..most {
            let mut rng = Rng::new(seed).part(number);
            let texts = Query {
                rng: &mut rng,
                names: 0,
            }
            .texts();
            let (bytes, rows) = ask(&mut peer, &texts, number % 2 == 1)
                .await
                .with_context(|| texts.join("; "))?;
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            found |= SECRETS.iter().any(|secret| text.contains(secret));
            if scope == "masked" {
                answered += u64::from(rows);
                score.check(!found, || {
                    format!("query {number} of seed {seed}: {}", texts.join("; "))
                });
                found = false;
            } else if found {
                break;
            }
        }
        if scope == "bare" && !found {
            score.wrong("without masks no secret was found: the queries prove nothing".to_owned());
        }
    }
    if answered * 4 < count {
        score.wrong(format!(
            "only {answered} of {count} queries had an answer: they prove little"
        ));
    }
    Ok(score)
}

/// Everything the job receives, and whether there were rows.
async fn ask(peer: &mut Raw, texts: &[String], extended: bool) -> Result<(Vec<u8>, bool)> {
    let mut all = Vec::new();
    let mut rows = false;
    for text in texts.iter().map(String::as_str).chain(["ROLLBACK"]) {
        if extended {
            peer.send(&[parse("", text), bind("", ""), execute(""), sync()].concat())
                .await?;
        } else {
            peer.send(&query(text)).await?;
        }
        for (tag, body) in peer.until_ready(1).await? {
            rows |= matches!(tag, 'D' | 'd');
            all.extend(body);
        }
    }
    Ok((all, rows))
}

/// Makes one query.
struct Query<'r> {
    rng: &'r mut Rng,
    names: usize,
}

/// Something in FROM: its alias and its columns.
type Item = (String, Vec<String>);

impl Query<'_> {
    fn one<'c>(&mut self, choices: &[&'c str]) -> &'c str {
        choices[self.rng.below(choices.len() as u64) as usize]
    }

    fn chance(&mut self, of: u64) -> bool {
        self.rng.below(of) == 0
    }

    /// The messages of one try: a block, so that nothing of it stays.
    fn texts(&mut self) -> Vec<String> {
        let (select, _) = self.select(3);
        let mut texts = vec!["BEGIN".to_owned()];
        match self.rng.below(9) {
            0 => texts.push(format!("COPY ({select}) TO STDOUT")),
            1 => texts.extend([format!("DECLARE cur CURSOR FOR {select}"), "FETCH ALL FROM cur".to_owned()]),
            2 => texts.extend([format!("PREPARE pre AS {select}"), "EXECUTE pre".to_owned(), "DEALLOCATE pre".to_owned()]),
            3 => texts.extend([format!("CREATE TABLE crm.made_{} AS {select}", self.names), format!("TABLE crm.made_{}", self.names)]),
            // A plan shows the words of the oracle below, whether or not there is a row.
            4 if !select.contains("'can' ||") => texts.push(format!("EXPLAIN {select}")),
            5 => texts.push(format!("INSERT INTO crm.orders (id, note) SELECT 100 + row_number() OVER (), q::text FROM ({select}) q RETURNING note")),
            6 => texts.push(format!("UPDATE crm.orders SET note = q::text FROM ({select}) q RETURNING note")),
            _ => texts.push(select),
        }
        texts
    }

    /// A SELECT and the names of its columns.
    fn select(&mut self, depth: u32) -> (String, Vec<String>) {
        let mut with = String::new();
        let mut items: Vec<Item> = Vec::new();
        let mut from = String::new();
        if depth > 0 && self.chance(4) {
            let (inner, columns) = self.select(depth - 1);
            let name = self.name();
            let kind = self.one(&["", "MATERIALIZED ", "NOT MATERIALIZED "]);
            with = format!("WITH {name} AS {kind}({inner}) ");
            from = name.clone();
            items.push((name, columns));
        }
        for _ in 0..1 + self.rng.below(2) {
            let (text, item) = self.item(depth);
            if from.is_empty() {
                from = text;
            } else {
                let join = match self.rng.below(4) {
                    0 => format!(" CROSS JOIN {text}"),
                    1 => format!(" LEFT JOIN {text} ON true"),
                    2 => format!(", LATERAL (SELECT * FROM {text}) {}", item.0),
                    _ => format!(" JOIN {text} ON {}.{} IS NOT NULL", item.0, item.1[0]),
                };
                from += &join;
            }
            items.push(item);
        }
        let aggregates = self.chance(4);
        let mut targets = Vec::new();
        for at in 0..1 + self.rng.below(3) {
            let value = self.value(&items, depth);
            let value = match (aggregates, self.rng.below(4)) {
                (true, 0) => format!("string_agg({value}, ',')"),
                (true, 1) => format!("max({value})"),
                (true, 2) => format!("array_agg({value})::text"),
                (true, _) => format!("json_agg({value})::text"),
                (false, 0) => format!("string_agg({value}, ',') OVER ()"),
                (false, _) => value,
            };
            targets.push(format!("{value} AS c{at}"));
        }
        let names = (0..targets.len()).map(|at| format!("c{at}")).collect();
        let mut text = format!("{with}SELECT {} FROM {from}", targets.join(", "));
        if self.chance(3) {
            let value = self.value(&items, depth);
            let condition = self.one(&["IS NOT NULL", "<> ''", "NOT LIKE 'zzz%'", "> ''", "~ '.'"]);
            text += &format!(" WHERE {value} {condition}");
        } else if self.chance(6) {
            // An oracle: nobody's masked address begins like that.
            let (alias, columns) = items[0].clone();
            if columns.contains(&"email".to_owned()) {
                text = format!(
                    "SELECT 'can' || 'ary' AS c0 FROM {from} WHERE {alias}.email LIKE '{}%'",
                    self.one(&["ann.", "bob.", "cyd."])
                );
                return (text, vec!["c0".to_owned()]);
            }
        }
        if !aggregates && self.chance(4) {
            text += self.one(&[" ORDER BY 1", " ORDER BY c0 DESC NULLS LAST", " LIMIT 3", " OFFSET 0"]);
        } else if !aggregates && self.chance(6) {
            text = format!("{text} {} {text}", self.one(&["UNION", "UNION ALL", "INTERSECT"]));
        }
        (text, names)
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    fn item(&mut self, depth: u32) -> (String, Item) {
        let name = self.name();
        if depth > 0 && self.chance(4) {
            let (inner, columns) = self.select(depth - 1);
            return (format!("({inner}) {name}"), (name, columns));
        }
        let (relation, columns) = RELATIONS[self.rng.below(RELATIONS.len() as u64) as usize];
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        let text = match self.rng.below(5) {
            0 => format!("ONLY {relation} {name}"),
            1 => format!("{relation} * AS {name}"),
            2 => format!("ONLY ({relation}) AS \"{name}\""),
            _ => format!("{relation} {name}"),
        };
        (text, (name, columns))
    }

    /// A text made of a column, of a row, or of a sub-query.
    fn value(&mut self, items: &[Item], depth: u32) -> String {
        let (alias, columns) = &items[self.rng.below(items.len() as u64) as usize];
        let column = &columns[self.rng.below(columns.len() as u64) as usize];
        let plain = format!("{alias}.{column}::text");
        match self.rng.below(12) {
            0 => format!("upper({plain})"),
            1 => format!("coalesce({plain}, '')"),
            2 => format!("({plain} || '')"),
            3 => format!("CASE WHEN {alias}.{column} IS NULL THEN '' ELSE {plain} END"),
            4 => format!("row_to_json({alias})::text"),
            5 => format!("{alias}::text"),
            6 if depth > 0 => {
                let (inner, names) = self.select(depth - 1);
                let of = self.name();
                format!("(SELECT max({of}.{}) FROM ({inner}) {of})", names[0])
            }
            7 => format!("(ARRAY[{plain}])[1]"),
            8 => format!("to_jsonb({alias}.{column})::text"),
            9 => format!("concat({plain}, {alias}.*)"),
            _ => plain,
        }
    }
}
