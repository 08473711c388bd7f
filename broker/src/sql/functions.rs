//! The functions of `pg_catalog` that every scope may call: they work on the values they are given.
//!
//! Not "all that are immutable or stable": `table_to_xml`, `query_to_xml` and `ts_stat` are stable and read any table by
//! its name. Left out are functions that run SQL text, read a relation, a file or a large object by name, show what
//! other sessions do, signal them, sleep, take advisory locks, move sequences, describe views and comments, assign
//! transaction numbers, or make a huge value out of a small one (`repeat`, `lpad`). A scope may name those under
//! `functions:`. `pg_advisory_unlock_all` is in: it gives up what the session itself holds, and asyncpg's pool sends it.

/// Functions without any effect, sorted. A name covers all its overloads.
const SAFE: &[&str] = &[
    "abbrev", "abs", "acos", "age", "any_value", "array_agg", "array_append", "array_cat", "array_dims", "array_fill",
    "array_length", "array_lower", "array_ndims", "array_position", "array_positions", "array_prepend",
    "array_remove", "array_replace", "array_sample", "array_shuffle", "array_to_json", "array_to_string",
    "array_to_tsvector", "array_upper", "ascii", "asin", "atan", "atan2", "avg", "bit", "bit_and", "bit_length",
    "bit_or", "bit_xor", "bool", "bool_and", "bool_or", "bpchar", "broadcast", "btrim", "cardinality", "cbrt", "ceil",
    "ceiling", "char", "char_length", "character_length", "chr", "cidr", "clock_timestamp", "concat", "concat_ws",
    "convert_from", "convert_to", "corr", "cos", "cosd", "cosh", "count", "covar_pop", "covar_samp", "cume_dist",
    "current_database", "current_schema", "current_schemas", "date", "date_add", "date_bin",
    "date_part", "date_subtract", "date_trunc", "datemultirange", "daterange", "decode", "degrees", "dense_rank",
    "div", "encode", "enum_first", "enum_last", "enum_range", "every", "exp", "extract", "factorial", "family",
    "first_value", "float4", "float8", "floor", "format", "format_type", "gcd", "gen_random_uuid", "generate_series",
    "generate_subscripts", "get_current_ts_config", "getdatabaseencoding", "hashtext", "hashtextextended", "host",
    "hostmask", "inet", "inet_merge", "inet_same_family", "initcap", "int2", "int4", "int4multirange", "int4range",
    "int8", "int8multirange", "int8range", "interval", "is_normalized", "isempty", "isfinite", "json_agg",
    "json_array_elements", "json_array_elements_text", "json_array_length", "json_build_array", "json_build_object",
    "json_each", "json_each_text", "json_extract_path", "json_extract_path_text", "json_object", "json_object_agg",
    "json_object_keys", "json_populate_record", "json_populate_recordset", "json_strip_nulls", "json_to_record",
    "json_to_recordset", "json_to_tsvector", "json_typeof", "jsonb_agg", "jsonb_array_elements",
    "jsonb_array_elements_text", "jsonb_array_length", "jsonb_build_array", "jsonb_build_object", "jsonb_concat",
    "jsonb_contains", "jsonb_delete", "jsonb_each", "jsonb_each_text", "jsonb_exists", "jsonb_exists_all",
    "jsonb_exists_any", "jsonb_extract_path", "jsonb_extract_path_text", "jsonb_insert", "jsonb_object",
    "jsonb_object_agg", "jsonb_object_keys", "jsonb_path_exists", "jsonb_path_exists_tz", "jsonb_path_match",
    "jsonb_path_match_tz", "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_array_tz",
    "jsonb_path_query_first", "jsonb_path_query_first_tz", "jsonb_path_query_tz", "jsonb_populate_record",
    "jsonb_populate_recordset", "jsonb_pretty", "jsonb_set", "jsonb_set_lax", "jsonb_strip_nulls", "jsonb_to_record",
    "jsonb_to_recordset", "jsonb_to_tsvector", "jsonb_typeof", "justify_days", "justify_hours", "justify_interval",
    "lag", "last_value", "lcm", "lead", "left", "length", "like_escape", "ln", "log", "log10", "lower", "lower_inc",
    "lower_inf", "ltrim", "make_date", "make_interval", "make_time", "make_timestamp", "make_timestamptz", "masklen",
    "max", "md5", "min", "min_scale", "mod", "mode", "multirange", "name", "netmask", "network", "normalize", "now",
    "nth_value", "ntile", "num_nonnulls", "num_nulls", "numeric", "nummultirange", "numnode", "numrange",
    "octet_length", "oid", "overlaps", "overlay", "parse_ident", "percent_rank", "percentile_cont", "percentile_disc",
    "pg_advisory_unlock_all", "pg_backend_pid", "pg_char_to_encoding", "pg_client_encoding", "pg_collation_for", "pg_collation_is_visible",
    "pg_column_size", "pg_conversion_is_visible", "pg_encoding_to_char", "pg_function_is_visible", "pg_get_userbyid",
    "pg_is_in_recovery", "pg_opclass_is_visible", "pg_operator_is_visible", "pg_opfamily_is_visible", "pg_size_bytes",
    "pg_size_pretty", "pg_statistics_obj_is_visible", "pg_table_is_visible", "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible", "pg_ts_parser_is_visible", "pg_ts_template_is_visible", "pg_type_is_visible",
    "pg_typeof", "phraseto_tsquery", "pi", "plainto_tsquery", "position", "pow", "power", "querytree", "quote_ident",
    "quote_literal", "quote_nullable", "radians", "random", "range_agg", "range_intersect_agg", "range_merge", "rank",
    "regclass", "regexp_count", "regexp_instr", "regexp_like", "regexp_match", "regexp_matches", "regexp_replace",
    "regexp_split_to_array", "regexp_split_to_table", "regexp_substr", "regr_avgx", "regr_avgy", "regr_count",
    "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy", "replace", "reverse", "right",
    "round", "row_number", "row_to_json", "rtrim", "scale", "set_masklen", "setweight", "sha224", "sha256", "sha384",
    "sha512", "sign", "similar_escape", "similar_to_escape", "sin", "sind", "sinh", "split_part", "sqrt",
    "starts_with", "statement_timestamp", "stddev", "stddev_pop", "stddev_samp", "string_agg", "string_to_array",
    "string_to_table", "strip", "strpos", "substr", "substring", "sum", "tan", "tand", "tanh", "text", "time",
    "timeofday", "timestamp", "timestamptz", "timetz", "timezone", "to_ascii", "to_char", "to_date", "to_hex",
    "to_json", "to_jsonb", "to_number", "to_regclass", "to_regnamespace", "to_regoper", "to_regoperator",
    "to_regproc", "to_regprocedure", "to_regrole", "to_regtype", "to_timestamp", "to_tsquery", "to_tsvector",
    "transaction_timestamp", "translate", "trim", "trim_array", "trim_scale", "trunc", "ts_delete", "ts_filter",
    "ts_headline", "ts_rank", "ts_rank_cd", "tsmultirange", "tsrange", "tstzmultirange", "tstzrange",
    "tsvector_to_array", "unicode_version", "unistr", "unnest", "upper", "upper_inc", "upper_inf",
    "uuid_extract_timestamp", "uuid_extract_version", "uuidv4", "uuidv7", "var_pop", "var_samp", "varbit", "varchar",
    "variance", "version", "websearch_to_tsquery", "width_bucket",
];

/// True when every scope may call this function of `pg_catalog`. It then has no effect either.
pub fn is_safe(name: &str) -> bool {
    SAFE.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_holds_no_name_twice() {
        assert!(SAFE.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn functions_that_reach_beyond_their_arguments_are_not_safe() {
        for name in [
            "query_to_xml", "table_to_xml", "schema_to_xml", "database_to_xml", "cursor_to_xml", "ts_stat", "ts_rewrite",
            "lo_get", "lo_import", "lo_export", "pg_read_file", "pg_ls_dir", "pg_stat_file", "pg_sleep", "pg_notify",
            "nextval", "setval", "currval", "lastval", "pg_advisory_lock", "pg_terminate_backend", "pg_cancel_backend",
            "pg_get_viewdef", "pg_get_functiondef", "col_description", "obj_description", "txid_current", "repeat",
            "lpad", "rpad", "pg_stat_get_activity", "pg_reload_conf", "pg_export_snapshot", "pg_relation_filenode",
            "has_table_privilege", "pg_prepared_statement", "pg_cursor", "pg_show_all_settings", "pg_logical_emit_message", "set_config", "current_setting",
        ] {
            assert!(!is_safe(name), "{name}");
        }
        assert!(is_safe("count"));
    }
}
