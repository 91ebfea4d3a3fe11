-- What statements of readers get from us (query/functions.py); nobody's own text can name them.
create schema reading;
grant usage on schema reading to peaceriver_reader, peaceriver_runner;

-- A value in the one form that all that are equal to it have: which of them GROUP BY, DISTINCT or min answer depends on
-- where rows lie. Types are listed where PostgreSQL could not choose between two of these, and all but jsonb's vanish
-- from a statement when it is planned.
create function reading.one_form(numeric) returns numeric language sql immutable parallel safe
    as 'select trim_scale($1)';
create function reading.one_form(real) returns real language sql immutable parallel safe as 'select $1 + 0';
create function reading.one_form(double precision) returns double precision language sql immutable parallel safe
    as 'select $1 + 0';
create function reading.one_form(interval) returns interval language sql immutable parallel safe
    as 'select justify_interval($1)';
create function reading.one_form(character) returns character language sql immutable parallel safe
    as 'select rtrim($1::text)::bpchar';
create function reading.one_form(jsonb) returns jsonb language plpgsql immutable strict parallel safe as $$
begin
    case jsonb_typeof($1)
    when 'number' then return to_jsonb(trim_scale($1::numeric));
    when 'array' then
        return coalesce((select jsonb_agg(reading.one_form(each) order by place)
            from jsonb_array_elements($1) with ordinality as e (each, place)), '[]');
    when 'object' then
        return coalesce((select jsonb_object_agg(key, reading.one_form(value)) from jsonb_each($1)), '{}');
    else return $1;
    end case;
end $$;
-- Arrays of such values. One of numbers is brought there as text, whatever its dimensions; of others, those of one.
create function reading.one_form(numeric[]) returns numeric[] language sql immutable parallel safe as $$
    select regexp_replace(
        regexp_replace($1::text, '(\.[0-9]*?)0+([,}])', '\1\2', 'g'), '\.([,}])', '\1', 'g')::numeric[]
$$;
create function reading.one_form(interval[]) returns interval[] language sql immutable parallel safe as $$
    select case when array_ndims($1) = 1 then
        array(select justify_interval(each) from unnest($1) with ordinality as e (each, place) order by place)
        else $1 end
$$;
create function reading.one_form(jsonb[]) returns jsonb[] language sql immutable parallel safe as $$
    select case when array_ndims($1) = 1 then
        array(select reading.one_form(each) from unnest($1) with ordinality as e (each, place) order by place)
        else $1 end
$$;
create function reading.one_form(double precision[]) returns double precision[]
    language sql immutable parallel safe as $$
    select case when array_ndims($1) = 1 then
        array(select each + 0 from unnest($1) with ordinality as e (each, place) order by place)
        else $1 end
$$;
create function reading.one_form(real[]) returns real[] language sql immutable parallel safe as $$
    select case when array_ndims($1) = 1 then
        array(select each + 0 from unnest($1) with ordinality as e (each, place) order by place)
        else $1 end
$$;
create function reading.one_form(smallint) returns smallint language sql immutable parallel safe as 'select $1';
create function reading.one_form(integer) returns integer language sql immutable parallel safe as 'select $1';
create function reading.one_form(bigint) returns bigint language sql immutable parallel safe as 'select $1';
create function reading.one_form(text) returns text language sql immutable parallel safe as 'select $1';
create function reading.one_form(smallint[]) returns smallint[] language sql immutable parallel safe as 'select $1';
create function reading.one_form(integer[]) returns integer[] language sql immutable parallel safe as 'select $1';
create function reading.one_form(bigint[]) returns bigint[] language sql immutable parallel safe as 'select $1';
create function reading.one_form(character varying[]) returns character varying[] language sql immutable parallel safe
    as 'select $1';
create function reading.one_form(character[]) returns character[] language sql immutable parallel safe as $$
    select case when array_ndims($1) = 1 then
        array(select reading.one_form(each) from unnest($1) with ordinality as e (each, place) order by place)
        else $1 end
$$;
create function reading.one_form(text[]) returns text[] language sql immutable parallel safe as 'select $1';
create function reading.one_form(time[]) returns time[] language sql immutable parallel safe as 'select $1';
create function reading.one_form(time) returns time language sql immutable parallel safe as 'select $1';
create function reading.one_form(anyelement) returns anyelement language sql immutable parallel safe as 'select $1';

-- Ends a statement that must not go on, with what to say of it.
create function reading.refuse(text) returns text language plpgsql immutable parallel safe as $$
begin
    raise exception using errcode = 'invalid_parameter_value', message = $1;
end $$;

-- A value as it is; but a text that PostgreSQL would read as another moment each day is refused.
create function reading.timeless(text) returns text language sql immutable parallel safe as $$
    select case when $1 !~* 'now|today|tomorrow|yesterday' then $1 when $1 is not null
        then reading.refuse(format('%L means another moment each day, and is no date or time here', left($1, 60))) end
$$;
create function reading.timeless(text[]) returns text[] language sql immutable parallel safe as $$
    select case when reading.timeless(array_to_string($1, ' ')) is not null then $1 end
$$;
create function reading.timeless(character varying[]) returns character varying[] language sql immutable parallel safe
    as 'select case when reading.timeless($1::text[]) is not null then $1 end';
create function reading.timeless(character[]) returns character[] language sql immutable parallel safe
    as 'select case when reading.timeless($1::text[]) is not null then $1 end';
create function reading.timeless(anyelement) returns anyelement language sql immutable parallel safe as 'select $1';

-- PostgreSQL's own of these names, up to 10,000 letters (TEXT_LETTERS_MAX): what would be longer is refused before it
-- is made. A number of letters is as fields are, numeric, and is rounded as a cast rounds it.
create function reading.letters(called text, wanted numeric) returns integer
    language plpgsql immutable strict parallel safe as $$
begin
    if round(wanted) > 10000 then
        perform reading.refuse(format('%s goes up to 10000 letters, not to %s', called, round(wanted)));
    end if;
    return greatest(round(wanted), 0);
end $$;
create function reading.repeat(text, numeric) returns text language plpgsql immutable strict parallel safe as $$
begin
    perform reading.letters('repeat', length($1) * round($2));
    return repeat($1, case when $1 = '' then 0 else greatest(round($2), 0)::integer end);
end $$;
create function reading.lpad(text, numeric, text default ' ') returns text language sql immutable strict parallel safe
    as $$ select lpad($1, reading.letters('lpad', $2), $3) $$;
create function reading.rpad(text, numeric, text default ' ') returns text language sql immutable strict parallel safe
    as $$ select rpad($1, reading.letters('rpad', $2), $3) $$;

-- Whether a row of so many bytes may be answered: what is larger (LARGE_ROW_BYTES_MAX) is refused before it is sent.
create function reading.fits(bytes integer) returns boolean language plpgsql immutable parallel safe as $$
begin
    if bytes > 16777216 then
        perform reading.refuse(format(
            'a row of the answer has %s bytes, and 16777216 is the most: answer less in each row', bytes));
    end if;
    return true;
end $$;
