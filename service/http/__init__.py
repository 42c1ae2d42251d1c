"""HTTP in, HTTP out: routes, three protocols over one predict path, errors as problem documents."""
