-- When its file could not be removed, the last time: those that were not tried yet go first.
ALTER TABLE media_files ADD COLUMN tried_at timestamptz;
