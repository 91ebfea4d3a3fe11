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
create function reading.one_form(smallint) returns smallint language sql immutable parallel safe as 'select $1';
create function reading.one_form(integer) returns integer language sql immutable parallel safe as 'select $1';
create function reading.one_form(bigint) returns bigint language sql immutable parallel safe as 'select $1';
create function reading.one_form(text) returns text language sql immutable parallel safe as 'select $1';
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
create function reading.timeless(anyelement) returns anyelement language sql immutable parallel safe as 'select $1';
