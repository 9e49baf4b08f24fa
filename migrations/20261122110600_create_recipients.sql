-- Read model: recipients. What became of everybody whom a campaign was to reach.
--
-- No index names a column that changes, so that updates stay within their page (HOT).
CREATE TABLE recipients (
    dispatch_id      uuid     NOT NULL,
    -- Place in the dispatch, from 0.
    idx              smallint NOT NULL,
    campaign_id      uuid     NOT NULL,
    subscriber_id    uuid     NOT NULL,
    state            text     NOT NULL,
    reason           text,
    -- Authorizations so far.
    attempts         smallint NOT NULL,
    -- The leave to send under which the state stands, and the consent behind it by its sequence in the
    -- subscriber's stream. Empty again once a recipient waits for another.
    permit_id        uuid,
    consent_sequence bigint,
    changed_position bigint   NOT NULL,
    PRIMARY KEY (dispatch_id, idx)
) WITH (fillfactor = 70);

-- Finds a campaign's recipients in order, and those in one state by the letters of its dispatches.
CREATE TABLE recipients_dispatches (
    dispatch_id uuid    PRIMARY KEY,
    campaign_id uuid    NOT NULL,
    page        integer NOT NULL,
    version     bigint  NOT NULL,
    cancelled   boolean NOT NULL,
    -- A letter for each recipient by its index: see dispatches.rs.
    states      text    NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX recipients_dispatches_campaign ON recipients_dispatches (campaign_id, page);
