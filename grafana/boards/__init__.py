"""The dashboards as code: `panels` and `board` are what they are made of, each other module is one of them."""
