"""Statements that would hold up whoever reads or runs them: they end in time, and nobody else waits."""

from __future__ import annotations

#: Statements that are allowed, and would take all the time or room that there is.
EXPENSIVE = {
    "endless recursion": "with recursive a as (select 1 as n union all select n + 1 from a) select sum(n) from a",
    "endless union": "with recursive a as (select 1.0 as n union select n + 1 from a) select 1 from a",
    "recursion that doubles": "with recursive a as (select 'a' as t union all select t || t from a) select 1 from a",
    "series": "select count(*) from generate_series(1, 1000000000000)",
    "series in rows": "select generate_series(1, 1000000000000)",
    "series of series": "select count(*) from generate_series(1, 1000000) as a, generate_series(1, 1000000) as b",
    "sorted series": "select n from generate_series(1, 1000000000000) as n order by md5(n::text)",
    "series of moments": "select count(*) from generate_series(timestamp '0001-01-01', '9999-01-01', '1 microsecond')",
    "cross joins": "select count(*) from " + ", ".join(f'"Order" as o{n}' for n in range(40)),
    "joins on nothing": 'select count(*) from "Order" as o'
    + "".join(f' full join "Order" as o{n} on o.customer <> o{n}.customer' for n in range(12)),
    "repeat": "select repeat('a', 2000000000)",
    "repeat of repeat": "select length(repeat(repeat('a', 1000000), 1000000))",
    "lpad": "select lpad('a', 2000000000, 'b')",
    "many lpads": "select count(*) from generate_series(1, 1000) as n where lpad('a', 100000000 + n, 'b') <> 'a'",
    "aggregate of everything": "select length(string_agg(repeat('a', 1000000), '')) from generate_series(1, 100000)",
    "array of everything": "select cardinality(array_agg(n)) from generate_series(1, 1000000000) as n",
    "array in brackets": "select array(select n from generate_series(1, 1000000000) as n)",
    "replaced": "select replace(repeat('x', 10000), 'x', repeat('y', 10000)) from generate_series(1, 500)",
    "rows that grow": "select case when n > 20 then replace(repeat('x', 10000), 'x', repeat('y', 10000)) end"
    ' from generate_series(1, 500) as n, (select 1 from "Order" limit 1) as o',
    "regular expression": "select regexp_replace(repeat('a', 50), '(a*)*(a*)*(a*)*(a*)*b', '')",
    "regular expression that looks back": "select repeat('a', 5000) ~ '(a*)*(a*)*(a*)*\\1\\2\\3b'",
    "regular expression of states": "select 'a' ~ repeat('(a|b){0,250}', 200)",
    "similar": "select repeat('a', 100000) similar to '(a|aa|aaa)*(b|bb)*c'",
    "like": "select repeat('a', 1000000) like repeat('%a', 1000) || 'b'",
    "power": "select power(9.9, 99999)",
    "power of power": "select power(power(9.9, 9999), 999)",
    "exponent": "select exp(99999.9)",
    "division": "select 1 / power(3.0::numeric, 100000)",
    "factors": "select count(*) from generate_series(1, 1000000000) as n where mod(n * 7919, 104729) = 1",
    "logarithm": "select ln(power(9.9, 99999))",
    "number in letters": "select ('1' || repeat('0', 130000))::numeric",
    "wide": "select " + ", ".join("1" for _ in range(2000)),
    "window of everything": "select max(s) from (select sum(n) over (order by n desc rows between unbounded"
    " preceding and unbounded following exclude current row) as s from generate_series(1, 1000000) as n) as x",
    "json": "select jsonb_agg(n order by n) from generate_series(1, 100000000) as n",
    "json path": """select jsonb_path_query('[1]', '$[*] ? (@ like_regex "(a*)*(a*)*b")')""",
    "deep json": "select repeat('[', 1000000)::jsonb",
    "rows": "select n, repeat('a', 1000) from generate_series(1, 100000) as n",
}


def heavy() -> dict[str, str]:
    """Statements that would hold up whoever reads or runs them."""
    made = dict(EXPENSIVE)
    for depth in (20, 60):
        made |= {
            f"{name} {depth} deep": f"select {before * depth}1{after * depth}"
            for name, before, after in (
                ("parentheses", "(", ")"),
                ("arrays", "array[", "]"),
                ("dates", "date (", ")"),
                ("intervals", "interval (", ")"),
                ("calls", "abs(", ")"),
                ("subqueries", "(select ", ")"),
                ("cases", "case when true then ", " end"),
                ("lists", "1 in (", ")"),
                ("casts", "cast(", " as text)"),
                ("rows", "(1, ", ")"),
                ("braces", "{", "}"),
            )
        }
        made[f"relations {depth} deep"] = "select * from " + "(" * depth + '"Order"' + ")" * depth
        made[f"joins {depth} deep"] = "select * from " + "(" * depth + '"Order"' + ' join "Order" on true)' * depth
    for count in (1_000, 4_900):
        made |= {
            f"{count:,} {name}": f"select {before}{each * count}{after}"
            for name, before, each, after in (
                ("sums", "", "1 + ", "1"),
                ("ors", "", "true or ", "true"),
                ("nots", "", "not ", "true"),
                ("minuses", "", "- ", "1"),
                ("strings", "", "'a' || ", "'a'"),
                ("values", "1 in (", "1, ", "1)"),
                ("columns", "", "1, ", "1"),
                ("casts", "1", "::int", ""),
                ("subscripts", "a", "[1]", ""),
                ("dots", "a", ".a", ""),
                ("words", "", "a ", ""),
                ("relations", "1 from ", '"Order", ', '"Order"'),
                ("unions", "1", " union select 1", ""),
                ("whens", "case ", "when true then 1 ", "end"),
            )
        }
    return made | {
        "too long": "select '" + "a" * 70_000 + "'",
        "100,000 values": "select 1 in (" + "1, " * 100_000 + "1)",
        "10,000 parentheses": "select " + "(" * 10_000 + "1" + ")" * 10_000,
        "10,000 open parentheses": "select " + "(" * 10_000,
        "10,000 unions": "select 1" + " union select 1" * 10_000,
        "comments": "select 1 " + "/*" * 30_000,
        "closed comments": "select 1 " + "/* a */" * 9_000,
        "dollars": "select " + "$a" * 30_000,
        "quotes": "select " + "''" * 30_000,
        "colons": "select " + ":" * 60_000,
        "statements": "select 1" + ";" * 60_000,
        "letters": "a" * 65_000,
        "ends of lines": "\n" * 65_000,
        "own relations": "with " + ", ".join(f"a{n} as (select 1)" for n in range(1_000)) + " select 1",
        "subqueries": "select " + ", ".join('(select 1 from "Order" limit 1)' for _ in range(700)),
        "distinct sums": "select distinct " + ", ".join(f"total + {n}" for n in range(1_200)) + ' from "Order"',
        "windows": "select 1 window " + ", ".join(f"w{n} as (w{n + 1})" for n in range(1_500)),
        "sums over windows": "select " + ", ".join("sum(1) over (order by 1)" for _ in range(900)),
    }
