//! `fake-name`: names that nobody has to recognise.

use super::sql;

/// 64 first names, so that six bits choose one.
const FIRST: &str = "Ada Ben Cleo Dan Edith Finn Greta Hugo Ida Jonas Kira Leo Mara Nils Olga Paul Quinn Rosa Sam Tilda \
    Uma Vera Wim Xenia Yara Zoe Anton Bela Carla Dora Emil Flora Gina Henry Ines Jule Karl Lina Max Nora Oskar Pia Ralf \
    Sara Theo Ute Viola Willy Anna Boris Clara David Elsa Felix Gabi Hanna Igor Jana Kurt Lotte Mila Noah Otto Petra";

/// 64 family names.
const LAST: &str = "Abel Baker Clay Drake Ellis Frost Gray Hale Irving Jarvis Keane Lane Marsh North Oakes Payne Quick Reed \
    Stone Tate Upton Vance Wells Young Archer Brook Carver Dale Eaton Field Grove Hill Ives Jordan Knight Lake Moor Nash \
    Orchard Park Rivers Sander Thorne Vale Ward Yates Ashby Birch Cole Dean Ember Fisher Glen Heath Ivory Kemp Lowe Mason \
    Noble Olsen Porter Rowe Shaw Wilder";

/// A name chosen by the row's key; always the same when there is none.
pub(super) fn choose(key: &[String]) -> String {
    if key.is_empty() {
        return sql::text("Sam Doe");
    }
    // The output functions of the key's types and one separator: no cast that somebody could have defined.
    let row = format!("pg_catalog.concat_ws('/'::pg_catalog.text, {})", key.join(", "));
    pick(&format!("pg_catalog.hashtextextended({}, 0)", sql::plain(&row)))
}

/// The name that twelve bits of a bigint choose.
pub(super) fn pick(hash: &str) -> String {
    let name = |list: &str, hash: &str| {
        let at = sql::op(&sql::op(hash, "&", "63"), "+", "1");
        format!("pg_catalog.split_part({}, ' ', ({at})::integer)", sql::text(list))
    };
    sql::op(
        &sql::op(&name(FIRST, hash), "||", "' '"),
        "||",
        &name(LAST, &sql::op(hash, ">>", "6")),
    )
}
