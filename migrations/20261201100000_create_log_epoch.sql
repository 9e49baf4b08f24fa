-- Which history this log is: a restore alone changes it. It stood in `log_head`, a row that each batch updates, and which every
-- command read: under an old snapshot (a dump) each of those reads passed all the dead versions of that row.
SET LOCAL lock_timeout = '5s';

CREATE TABLE log_epoch (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch  uuid    NOT NULL
);
INSERT INTO log_epoch (epoch) SELECT epoch FROM log_head;

-- Binaries of the last version read `log_head.epoch`. It follows, until they are gone.
CREATE FUNCTION log_epoch_to_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE log_head SET epoch = NEW.epoch WHERE epoch <> NEW.epoch;
    RETURN NULL;
END $$;
CREATE TRIGGER log_epoch_to_head AFTER UPDATE OF epoch ON log_epoch
    FOR EACH ROW EXECUTE FUNCTION log_epoch_to_head();
