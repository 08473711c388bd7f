//! `hoop-db doctor` finds what a database exposes, and its SQL cures it; `hoop-db roles` shows how far logins reach.

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::command::said;
use tests::{House, Plan};

const EXPOSED: &str = "RESET ROLE; RESET SESSION AUTHORIZATION;
CREATE ROLE app_owner; CREATE ROLE leaked LOGIN PASSWORD 'x'; CREATE ROLE reader NOINHERIT LOGIN PASSWORD 'x' VALID UNTIL '2031-01-01';
GRANT app_owner TO leaked; GRANT app_owner TO reader;
CREATE SCHEMA \"odd \"\"schema\"; GRANT CREATE ON SCHEMA \"odd \"\"schema\" TO PUBLIC;
CREATE TABLE public.wide (id int); GRANT SELECT, INSERT ON public.wide TO PUBLIC; ALTER TABLE public.wide OWNER TO app_owner;
CREATE FUNCTION public.peek(a int, b text) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE PROCEDURE public.poke() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE FUNCTION public.fires() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS 'BEGIN RETURN NEW; END';
REVOKE EXECUTE ON FUNCTION public.fires() FROM PUBLIC;
CREATE TRIGGER fires BEFORE INSERT ON public.wide FOR EACH ROW EXECUTE FUNCTION public.fires();
GRANT pg_read_all_data TO hoop_broker;
CREATE FUNCTION public.audits() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (NEW.id); RETURN NEW; END';
CREATE FUNCTION public.touches() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.id := 1; RETURN NEW; END';
CREATE FUNCTION public.looks(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN EXISTS (SELECT 1 FROM public.seen); END';
CREATE DOMAIN public.looked AS int CHECK (public.looks(VALUE));
CREATE TABLE public.seen (id int);
CREATE TABLE public.plain (id int, other public.looked, CHECK (public.looks(id)));
CREATE TRIGGER audits AFTER INSERT ON public.plain FOR EACH ROW EXECUTE FUNCTION public.audits();
CREATE TRIGGER touches BEFORE INSERT ON public.plain FOR EACH ROW EXECUTE FUNCTION public.touches();
";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_doctor_finds_his_sql_cures() -> Result<()> {
    let house = House::plan(Plan {
        schema: format!("{}{EXPOSED}", Plan::default().schema),
        ..Plan::default()
    })
    .await?;
    let operator = house.path("broker.yaml").display().to_string();
    let doctor = |more: &[&str]| said(house.command(&["doctor", "--operator", &operator]).args(more));
    let found = doctor(&["--json"])?;
    assert_eq!(found.code, Some(1), "{}", found.err);
    let document: Value = serde_json::from_str(&found.out)?;
    let findings = document["shop"].as_array().context("no findings")?;
    let kinds: Vec<(&str, &str)> = findings
        .iter()
        .map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default();
            (text("kind"), text("name"))
        })
        .collect();
    for expected in [
        ("public-create", "odd \"schema"),
        ("public-temporary", "shop"),
        ("public-table", "wide"),
        ("public-definer", "peek"),
        ("public-definer", "poke"),
        ("unpinned-definer", "peek"),
        ("definer-trigger", "wide"),
        ("invoker-trigger", "plain"),
        ("invoker-code", "plain"),
        ("login-member", "pg_read_all_data"),
    ] {
        assert!(kinds.contains(&expected), "{expected:?} is not in {kinds:?}");
    }
    let text = doctor(&["--database", "shop"])?.out;
    assert!(
        text.contains("a change of public.wide fires fires, which runs with the rights of postgres"),
        "{text}"
    );
    assert!(
        text.contains("a change of public.plain fires audits, which runs with the rights of hoop_broker")
            && text.contains("a change of public.plain calls public.looks,")
            && !text.contains("touches"),
        "{text}"
    );
    let is_note = |finding: &&Value| {
        finding["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("invoker-"))
    };
    for finding in findings.iter().filter(|finding| !is_note(finding)) {
        let fix = finding["fix"].as_str().context("no fix")?;
        assert!(text.contains(fix), "{fix} is not in {text}");
        house.cluster.psql("shop", fix).with_context(|| fix.to_owned())?;
    }
    let cured = doctor(&[])?;
    // The notes stay: they are no fault.
    assert!(
        cured.code == Some(0) && cured.out.starts_with("shop: nothing to mend\n") && cured.out.contains("audits"),
        "{} {}",
        cured.out,
        cured.err
    );
    let unknown = doctor(&["--database", "nowhere"])?;
    assert!(
        unknown.code == Some(1) && unknown.err.contains("defines no database `nowhere`"),
        "{}",
        unknown.err
    );

    let roles = |more: &[&str]| said(house.command(&["roles", "--operator", &operator]).args(more));
    let shown = roles(&["--json"])?;
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    let document: Value = serde_json::from_str(&shown.out)?;
    let logins = document["shop"]["logins"].as_array().context("no logins")?;
    let login = |name: &str| {
        logins
            .iter()
            .find(|login| login["name"] == name)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(login("postgres")["superuser"], true);
    // Both are in the owner's role; only one has its rights without asking.
    assert_eq!(
        (&login("leaked")["drops"], &login("reader")["drops"]),
        (&Value::from(1), &Value::from(0))
    );
    assert_eq!(login("reader")["member_of"][0]["path"][0], "app_owner");
    assert_eq!(
        (&login("leaked")["valid_until"], &login("reader")["valid_until"]),
        (&Value::Null, &Value::from("2031-01-01T00:00:00Z"))
    );
    let text = roles(&[])?.out;
    assert!(
        text.contains("in app_owner (has its rights)") && text.contains("in app_owner (by SET ROLE)"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_masks_lack_the_doctor_says_with_its_cure() -> Result<()> {
    let house = House::plan(tests::roles::masked("role")).await?;
    let operator = house.path("broker.yaml").display().to_string();
    let lacks = || -> Result<Vec<(String, String)>> {
        let found = said(&mut house.command(&["doctor", "--operator", &operator, "--json"]))?;
        let document: Value = serde_json::from_str(&found.out).context(found.err)?;
        let all = document["shop"].as_array().context("no findings")?;
        let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let lacks = all.iter().filter(|finding| finding["kind"] == "login-lacks");
        Ok(lacks
            .map(|finding| (text(finding, "name"), text(finding, "fix")))
            .collect())
    };
    assert_eq!(lacks()?, []);
    for (taken, what) in [
        ("ALTER DATABASE shop OWNER TO postgres", "there is no schema"),
        ("ALTER SCHEMA hoop_masks OWNER TO postgres", "belongs to another role"),
        ("ALTER ROLE hoop_broker NOCREATEROLE", "may not create roles"),
    ] {
        house.cluster.psql("shop", taken)?;
        let [(told, cure)] = &lacks()?[..] else {
            panic!("{taken}: {:?}", lacks()?)
        };
        assert!(told.contains(what), "{told}");
        house.cluster.psql("shop", cure)?;
        assert_eq!(lacks()?, [], "{cure}");
    }
    let client = house.connect(&house.grant("reader").await?).await?;
    let email = tests::roles::value(&client, "SELECT email FROM crm.people WHERE id = 1").await?;
    assert_eq!(email, "x***@example.test");
    Ok(())
}
