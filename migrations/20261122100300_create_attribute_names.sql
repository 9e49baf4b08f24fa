-- Names of reader attributes that templates may use. Names only: no value is personal here.
CREATE TABLE attribute_names (
    name text PRIMARY KEY
);
