"""What a query may be made of: kinds of syntax, functions and types. What is not named here is refused.

Every function is one of PostgreSQL's own that answers the same for the same input, on every node and for ever: nothing
that asks for the time, for chance, for a setting or for who asks; nothing that reads a file or a table by its name,
that waits, or that writes. An aggregate that depends on the order of its input gets one (see ``repeatable``).
"""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


#: Syntax by the parser's names, functions apart.
SYNTAX: Final = words("""
    Select Union Intersect Except Subquery Values Table TableAlias From Join Lateral With CTE RecursiveWithSearch
    Where Group GroupingSets Rollup Cube Having Order Ordered Limit Offset Fetch LimitOptions Distinct
    Window WindowSpec Filter WithinGroup
    Alias Column Identifier Star Paren Tuple Bracket Slice Array Literal RawString Boolean Null Placeholder
    Cast DataType DataTypeParam Interval IntervalSpan ParseJSON Var ColumnDef Collate AtTimeZone Extract
    And Or Not EQ NEQ GT GTE LT LTE Is NullSafeEQ NullSafeNEQ Between In Exists Any All Like ILike SimilarTo Escape
    RegexpLike RegexpILike Overlaps Case If
    Add Sub Mul Div Mod Neg DPipe BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitwiseLeftShift BitwiseRightShift
    JSONExtract JSONExtractScalar JSONBExtract JSONBExtractScalar
    JSON JSONBContainsTopKey JSONBContainsAnyTopKeys JSONBContainsAllTopKeys JSONBDeleteAtPath
    JSONBPathExists MatchAgainst Kwarg Variadic Pow ArrayContainsAll ArrayContainedBy ArrayOverlaps
""")

#: Functions with a syntax of their own, by the parser's names; all others it knows by name alone (see ``guard``).
SPECIAL_FUNCTIONS: Final = words("Trim Substring StrPosition Overlay Unnest")

#: Functions, by PostgreSQL's names.
FUNCTIONS: Final = words("""
    count sum avg min max array_agg string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg
    bool_and bool_or every bit_and bit_or bit_xor
    stddev stddev_pop stddev_samp variance var_pop var_samp corr covar_pop covar_samp
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
    percentile_cont percentile_disc mode grouping
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
    coalesce nullif greatest least num_nulls num_nonnulls
    lower upper initcap length char_length character_length octet_length bit_length substring substr left right
    lpad rpad trim ltrim rtrim btrim replace translate reverse repeat concat concat_ws split_part strpos position
    overlay starts_with string_to_array array_to_string string_to_table ascii chr md5 to_hex
    regexp_replace regexp_match regexp_matches regexp_like regexp_count regexp_substr regexp_instr
    regexp_split_to_array regexp_split_to_table
    abs ceil ceiling floor round trunc sign mod power exp ln log log10 sqrt cbrt div gcd lcm width_bucket
    scale min_scale trim_scale pi degrees radians sin cos tan asin acos atan atan2
    extract date_part date_trunc date_bin age justify_days justify_hours justify_interval isfinite
    make_date make_time make_timestamp make_timestamptz make_interval to_char to_date to_number to_timestamp timezone
    array_length array_position array_positions array_append array_prepend array_cat array_remove array_replace
    array_upper array_lower array_ndims cardinality unnest generate_subscripts generate_series
    json_build_object jsonb_build_object json_build_array jsonb_build_array to_json to_jsonb row_to_json array_to_json
    json_array_length jsonb_array_length json_array_elements jsonb_array_elements json_array_elements_text
    jsonb_array_elements_text json_each jsonb_each json_each_text jsonb_each_text json_object_keys jsonb_object_keys
    json_typeof jsonb_typeof json_extract_path jsonb_extract_path json_extract_path_text jsonb_extract_path_text
    jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first
    jsonb_set jsonb_insert jsonb_strip_nulls json_strip_nulls jsonb_pretty json_to_recordset jsonb_to_recordset
    json_to_record jsonb_to_record json_value json_query json_exists
    row array all some
""")

#: What the statement that is run may have in front of a parenthesis and that is no function.
BEFORE_PARENTHESIS: Final = words("""
    any all some exists in array over filter group within by on using as and or not when then else case select from
    where having values union intersect except distinct sets rollup cube with lateral from join limit offset fetch
    first next between like ilike similar to escape is cast interval row rows recursive materialized window order
    partition end numeric decimal varchar char time timestamp timestamptz timetz float bit unnest overlaps
    ordinality collate zone
""")

#: Types that a value may be cast to.
TYPES: Final = words("""
    text varchar char bpchar smallint int integer bigint decimal numeric real float double boolean date time timetz
    timestamp timestamptz interval uuid json jsonb jsonpath array
""")

#: Units of time, parts of dates, and the few other bare words that are no names.
WORDS: Final = words("""
    year years month months week weeks day days hour hours minute minutes second seconds quarter decade century
    millennium milliseconds microseconds epoch dow doy isodow isoyear julian timezone timezone_hour timezone_minute
    all object array scalar value mins secs ties group
""") | {f"{first} to {last}" for first, last in (
    ("year", "month"), ("day", "hour"), ("day", "minute"), ("day", "second"), ("hour", "minute"), ("hour", "second"),
    ("minute", "second"),
)} | {"no others", "current row"}  # fmt: skip

#: What may be done before, after or within a frame.
FRAMES: Final = frozenset("""
    rows,range,groups,preceding,following,ties,group,exclude,unbounded,current row,no others,exclude ties,exclude group,
    exclude current row,exclude no others
""".replace("\n    ", "").strip().split(","))  # fmt: skip

#: Functions that would be welcome but for one thing, and what to do instead.
ADVICE: Final = {
    **dict.fromkeys(
        words("now current_timestamp current_date current_time localtime localtimestamp clock_timestamp timeofday")
        | words("statement_timestamp transaction_timestamp"),
        "an answer as of a moment must not change with the clock; give the time as a host variable",
    ),
    **dict.fromkeys(
        words("random gen_random_uuid uuidv4 uuidv7 random_normal setseed"),
        "an answer as of a moment must not depend on chance; give the value as a host variable",
    ),
    "any_value": "which value it takes is not the same on every node; use min or max",
}

#: Compared with a date or a time, or cast to one, it would mean the moment at which the query runs.
MOMENTS: Final = re.compile(
    r"(?=.*\b(now|today|tomorrow|yesterday|allballs)\b)"
    r"([\s\d:.,+{}\[\]/-]|\b(now|today|tomorrow|yesterday|allballs|utc|gmt|zulu|z|am|pm|t)\b)+",
    re.IGNORECASE,
)

#: A word that PostgreSQL takes for a moment by the clock wherever it stands in a date or a time, whatever is beside it:
#: names of zones and of days, and punctuation, which it skips.
MOMENT: Final = re.compile(r"(?<![a-z])(now|today|tomorrow|yesterday)(?![a-z])", re.IGNORECASE)

#: Types whose texts may say a moment by the clock.
_TIMES: Final = frozenset(
    (exp.DType.DATE, exp.DType.TIME, exp.DType.TIMETZ, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ)
)

#: The orders of text that are the same on every machine.
COLLATIONS: Final = frozenset(("C", "POSIX", "ucs_basic"))

#: Functions that make a text as long as is said.
LENGTHENING: Final = words("repeat lpad rpad")

#: Functions that make one large value of several, or of one over and over.
GROWING: Final = words("""
    replace regexp_replace overlay concat concat_ws array_to_string string_agg array_agg json_agg jsonb_agg
    json_object_agg jsonb_object_agg array_append array_prepend array_cat array_replace
    json_build_object jsonb_build_object json_build_array jsonb_build_array jsonb_set jsonb_insert
    jsonb_path_query_array
""")

#: Functions whose answer depends on the order of their input.
ORDERED_AGGREGATES: Final = words("""
    array_agg string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg
    corr covar_pop covar_samp regr_avgx regr_avgy regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
""")
#: The same where they add up floating-point numbers, for those are rounded at each step; of NUMERIC they are exact.
SUMS: Final = words("sum avg stddev stddev_pop stddev_samp variance var_pop var_samp")
#: What makes floating-point numbers.
FLOATING: Final = words("""
    sqrt cbrt power exp ln log log10 pi degrees radians sin cos tan asin acos atan atan2 date_part
    percent_rank cume_dist percentile_cont corr covar_pop covar_samp
    regr_avgx regr_avgy regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
""")
FLOATING_TYPES: Final = words("real float double")
#: The same of window functions: which row comes first among equals matters to them.
ORDERED_WINDOWS: Final = words("row_number ntile lag lead first_value last_value nth_value")
#: Those that answer one of the values they are given, whichever of equal ones.
ONE_OF_EQUALS: Final = words("min max mode percentile_disc percentile_cont")
AGGREGATES: Final = words("""
    count sum avg min max array_agg string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg bool_and bool_or
    every bit_and bit_or bit_xor stddev stddev_pop stddev_samp variance var_pop var_samp corr covar_pop covar_samp
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
    percentile_cont percentile_disc mode grouping
""")
#: Functions that make rows where a value is expected.
ROW_MAKERS: Final = words("""
    unnest generate_series generate_subscripts regexp_matches regexp_split_to_table string_to_table
    json_array_elements jsonb_array_elements json_array_elements_text jsonb_array_elements_text json_each jsonb_each
    json_each_text jsonb_each_text json_object_keys jsonb_object_keys jsonb_path_query
""")
#: Those of them that make JSON, which has no order.
JSON_MAKERS: Final = words("json_array_elements json_each")


def function_name(node: exp.Expr) -> str:
    """What PostgreSQL calls a function, in small letters; nothing for what is no function call."""
    if isinstance(node, exp.Anonymous):
        return node.name.lower()
    name = type(node).__name__
    if name not in SPECIAL_FUNCTIONS:
        return ""
    return "position" if name == "StrPosition" else name.lower()


def says_time(kind: exp.DataType) -> bool:
    """Whether a type is one of dates or times, or of arrays of them."""
    while kind.this is exp.DType.ARRAY and kind.expressions:
        kind = kind.expressions[0]
    return kind.this in _TIMES
