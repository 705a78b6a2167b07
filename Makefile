# `make help` says what there is; each target is one command that works by itself, too.
.PHONY: help check test deep fleet prove bench dashboards settings sbom pin down
help:       ## these lines
	@grep -hE '^[a-z]+: +##' $(MAKEFILE_LIST) | sed 's/: *## */\t/'
check:      ## every check and every test that needs no server
	./integration-tests/run-integration-tests.sh --fast
test:       ## every check and every test of each run
	./integration-tests/run-integration-tests.sh
deep:       ## and all that takes long
	./integration-tests/run-integration-tests.sh --deep
fleet:      ## start the fleet
	./setup.sh
prove:      ## split the running fleet under load, heal it, and account for every event
	./load-test.sh
bench:      ## what the parts can do, each figure beside another one
	bench/run.sh all
dashboards: ## make dashboards, alerts' links and rules from grafana/boards and the run book
	.venv/bin/python grafana/generate.py
settings:   ## make docs/settings.md from the settings classes
	.venv/bin/python docs/write_settings.py
sbom:       ## write the bill of materials into sbom.cdx.json
	.venv/bin/python -m supply.sbom sbom.cdx.json
pin:        ## write the digest of each image beside its tag
	.venv/bin/python -m supply.pin_images
down:       ## stop the fleet; `./setup.sh down -v` removes its data, too
	./setup.sh down
