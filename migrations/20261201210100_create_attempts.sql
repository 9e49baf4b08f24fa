-- Work that somebody is at, and how many workers in a row died with it: after some it is given up, and leased for ever.
CREATE TABLE attempts (
    work text NOT NULL,
    id uuid NOT NULL,
    deaths integer NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL,
    PRIMARY KEY (work, id)
);
