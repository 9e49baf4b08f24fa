-- A list of one group's opt-outs is read in its order, however rare the group is: a planner that takes it for a common one walked all.
-- Its projector waits while the rows that are there are copied; nobody who reads does.
CREATE TABLE opt_outs_of_groups (
    group_id uuid   NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (group_id, position)
);
-- By a trigger, so that the version before fills it too.
CREATE FUNCTION opt_outs_to_groups() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO opt_outs_of_groups (group_id, position) SELECT DISTINCT unnest(NEW.groups), NEW.position ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER opt_outs_to_groups AFTER INSERT ON opt_outs FOR EACH ROW EXECUTE FUNCTION opt_outs_to_groups();
INSERT INTO opt_outs_of_groups (group_id, position) SELECT DISTINCT unnest(groups), position FROM opt_outs;
