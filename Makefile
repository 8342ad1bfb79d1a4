# Convoy: the one Makefile. `make demo` shows the fleet at work, `make test` proves it.
#
## all          build every program into build/bin (the default)
## demo         train a network on a fleet on this machine, score 10,000 images with it, kill a worker in each (EPOCHS=n)
## test         every quick test, closing with "N passed, N failed"
## test-unit test-kernels test-sim test-fleet test-asan   parts of it; the last under ASan and UBSan
## sim          the whole fleet simulated under faults: SEED=n EVENTS=m [RUNS=k] replays those runs exactly
## test-crash   the gateway is cut off at every call that changes a file; faults of the disk; altered octets
## test-nodes   machines that join, links that are attacked and cut: hosts in network namespaces (root)
## chaos        faults of all kinds against a whole fleet, and a verdict (DURATION_S=60 SEED=n; root)
## chaos-rate   throughput with a worker killed every 10 s beside the undisturbed one (DURATION_S=300)
## chaos-million  one job of a million heavy rows, a process killed every 15 s (ROWS=1000000)
## test-clients other people's clients against a running gateway (tritonclient, openai)
## conformance  ONNX's own test data (Debian's libonnx-testdata), counted by operator
## assets-check real models: reference cases, streams, same bytes in any batch (ASSETS=FOLDER)
## exports-check  networks exported afresh by PyTorch, against onnxruntime (TORCH=PYTHON: by that one's)
## train-check  the founding document's network, three seeds on two data sets: accuracy, and onnxruntime's
## train-names  an LSTM and a GRU learn first names as well as the same program in PyTorch (THREADS=1)
## architecture-check  layers as built here against Keras 3 and Keras 2: parameters, shapes, outputs (WRITE=--write)
## fuzz         a million inputs for each parser and for the broker's core, under ASan and UBSan (TARGET=wire EXECUTIONS=n)
## check-model  lease, commit and reconciliation in Promela: every state, by spin (RUN=NAME)
## bench        fleet throughput beside the bare engine on the same cores
## bench-broker  dispatch cost with 10 to 10,000 workers; tasks per second beside a bare zmq_proxy
## bench-scale   a broker with 7,500 idle enrolled peers: memory, processor; 2,000 that come back
## bench-kernels  our kernels beside oneDNN, onnxruntime and OpenBLAS, layer by layer (FILTER=r11 PEERS=no)
## bench-models  whole models by the engine beside onnxruntime (ASSETS=FOLDER with silero, too)
## bench-train  an epoch of seed_cnn, an LSTM and a GRU here, in PyTorch and in TensorFlow (WORKS=seed_cnn BATCHES=32 THREADS=1 TURNS=3)
## examples     deploy/*.conf.example anew, from the programs' own lists of parameters
## operators    worker/OPERATORS.md and worker/LAYERS.md anew, from the lists that the programs read
## limits       common/LIMITS.md anew, from the list of fixed bounds
## tidy         clang-tidy, cppcheck, clang-format, size limits
## layers       includes go one way
## install      into $(DESTDIR)$(PREFIX)
## clean        remove build/
#
# SAN=address,undefined or SAN=thread builds into a tree of its own; CC=clang works as well.
# V=1 shows whole commands. Every target but all and install first lets deploy/setup install what
# it needs and lacks.

SHELL  := /bin/bash
comma  := ,
SAN    ?=
PREFIX ?= /usr/local
COMPILER := $(if $(filter-out cc gcc,$(notdir $(CC))),$(notdir $(CC))-)
FLAVOR := $(COMPILER)$(or $(subst $(comma),-,$(SAN)),plain)
OUT    := build/$(FLAVOR)
BIN    := $(if $(filter plain,$(FLAVOR)),build/bin,$(OUT)/bin)
CFLAGS ?= -O2 -g
VERSION := 0.1.0

WARN := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes -Werror
BASE := -std=c11 -D_GNU_SOURCE -DCONVOY_VERSION='"$(VERSION)"' $(WARN) -I. -isystem $(OUT)/gen -MMD -MP \
	-fno-omit-frame-pointer -pthread $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
LINK := -pthread $(if $(SAN),-fsanitize=$(SAN))

# --- what is made of what -----------------------------------------------------------------------
# Each folder's sources go into its role's archive; a file *main.c is a program's.
sources  = $(filter-out %main.c,$(wildcard $(addsuffix /*.c,$(1))))
objects  = $(patsubst %.c,$(OUT)/%.o,$(call sources,$(1)))

COMMON  := $(call objects,common)
BROKER  := $(call objects,broker broker/core)
WORKER  := $(call objects,worker worker/program worker/onnx worker/graph worker/ops worker/train worker/kernels) \
	$(OUT)/gen/onnx.pb-c.o
GATEWAY := $(call objects,gateway gateway/http gateway/api gateway/ledger gateway/dead gateway/dataset gateway/training gateway/repository gateway/access gateway/registry)
CLIENT  := $(call objects,gateway/client gateway/cli)

OMP          := -fopenmp
LIBS_COMMON  := -lczmq -lzmq -lmsgpackc -luuid -lsodium -lz -lm
LIBS_BROKER  :=
LIBS_WORKER  := -lprotobuf-c -ljansson $(OMP)
LIBS_GATEWAY := -lmicrohttpd -lgnutls -lsqlite3 -ljansson
LIBS_CLIENT  := -lcurl -ljansson

PROGRAMS := $(addprefix $(BIN)/,convoy-broker convoy-gateway convoy-worker convoy-run convoy)

.DEFAULT_GOAL := all
.PHONY: all help clean install layers tidy demo bench
.SECONDARY:
all: $(PROGRAMS)

# $(call build_for,TARGET,GOALS): set up for TARGET, then build GOALS, on all cores unless -j says else.
define build_for
@deploy/setup $(1)
+@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc)) $(2)
endef

help:
	@sed -n 's/^## //p' Makefile

Q   := $(if $(V),,@)
say  = $(if $(V),,@echo "  $(1)")
archive = $(AR) rcs $@.part $^ && mv $@.part $@
$(OUT)/common.a:  $(COMMON);  @rm -f $@; $(archive)
$(OUT)/broker.a:  $(BROKER);  @rm -f $@; $(archive)
$(OUT)/worker.a:  $(WORKER);  @rm -f $@; $(archive)
$(OUT)/gateway.a: $(GATEWAY); @rm -f $@; $(archive)
$(OUT)/client.a:  $(CLIENT);  @rm -f $@; $(archive)

link = @mkdir -p $(@D); echo "  link $@"; $(CC) $(LINK) $^ $(1) $(LIBS_COMMON) -o $@
$(BIN)/convoy-broker:  $(OUT)/broker/main.o $(OUT)/broker.a $(OUT)/common.a;    $(call link,$(LIBS_BROKER))
$(BIN)/convoy-gateway: $(OUT)/gateway/main.o $(OUT)/gateway.a $(OUT)/common.a;  $(call link,$(LIBS_GATEWAY))
$(BIN)/convoy-worker:  $(OUT)/worker/main.o $(OUT)/worker.a $(OUT)/common.a;    $(call link,$(LIBS_WORKER))
$(BIN)/convoy-run:     $(OUT)/worker/run_main.o $(OUT)/worker.a $(OUT)/common.a; $(call link,$(LIBS_WORKER))
$(BIN)/convoy:         $(OUT)/gateway/cli/main.o $(OUT)/client.a $(OUT)/common.a; $(call link,$(LIBS_CLIENT))

# Only the worker computes; a kernel's file name says which instruction set it needs.
$(OUT)/worker/%.o: private OPENMP := $(OMP)
$(OUT)/worker/kernels/%.o: private CFLAGS := $(CFLAGS) $(if $(SAN),-O1 -DSANITIZED,-O3) -ffp-contract=off
$(OUT)/worker/kernels/%_avx2.o: private ISA := -mavx2 -mfma
$(OUT)/worker/kernels/%_avx512.o: private ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
$(OUT)/worker/kernels/%_vnni.o: private ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma

# Once for each tree: say what to do where a library's header is not there.
HEADERS := czmq.h zmq.h msgpack.h uuid/uuid.h sodium.h zlib.h protobuf-c/protobuf-c.h jansson.h \
	microhttpd.h gnutls/gnutls.h sqlite3.h curl/curl.h
HINT    := { echo "make: a library is missing; to install it: deploy/setup build" >&2; exit 1; }
$(OUT)/headers.ok:
	@mkdir -p $(@D)
	@printf '#include <%s>\n' $(HEADERS) | $(CC) $(CPPFLAGS) -E -x c -o /dev/null - || $(HINT)
	@command -v protoc-c >/dev/null || $(HINT)
	@touch $@

$(OUT)/%.o: %.c | $(OUT)/headers.ok
	@mkdir -p $(@D)
	$(call say,cc $<)
	$(Q)$(CC) $(BASE) $(CFLAGS) $(OPENMP) $(ISA) -c $< -o $@

# ONNX's own description of its format, from Debian's package, untouched.
ONNX_PROTO := /usr/include/onnx/onnx.proto
$(ONNX_PROTO):
	@$(HINT)
$(OUT)/gen/onnx.pb-c.c $(OUT)/gen/onnx.pb-c.h &: $(ONNX_PROTO) | $(OUT)/headers.ok
	@mkdir -p $(OUT)/gen
	$(call say,protoc-c $<)
	$(Q)protoc-c --proto_path=$(<D) --c_out=$(OUT)/gen $(<F)
$(OUT)/gen/onnx.pb-c.o: $(OUT)/gen/onnx.pb-c.c
	$(call say,cc $<)
	$(Q)$(CC) -std=c11 -O2 -I$(OUT)/gen -c $< -o $@
$(call objects,worker worker/onnx worker/train) $(OUT)/tests/unit/worker/test_build.o $(OUT)/tests/fuzz/worker/fuzz_model.o: | $(OUT)/gen/onnx.pb-c.h

# The gateway's page as a text in C.
$(OUT)/gen/page.inc: gateway/api/page.html Makefile
	@mkdir -p $(@D)
	@(echo 'static const char html[] ='; sed 's/\\/&&/g; s/"/\\"/g; s/.*/"&\\n"/' $<; echo ';') >$@
$(OUT)/gateway/api/page.o: $(OUT)/gen/page.inc

# --- tests --------------------------------------------------------------------------------------
# tests/unit/ROLE/test_*.c are cmocka programs, each linked with its role's archive.
unit_programs = $(patsubst tests/%.c,$(OUT)/tests/%,$(wildcard $(1)))
# The fuzz targets' corpora without a fuzzer; the worker's has a test of its own, with more to read.
REPLAYS := $(subst /fuzz_,/replay_,$(patsubst tests/%.c,%,$(wildcard $(patsubst %,tests/fuzz/%/fuzz_*.c,common broker gateway train))))
UNIT    := $(call unit_programs,tests/unit/*/test_*.c) $(patsubst %,$(OUT)/tests/%,$(REPLAYS))
KERNELS := $(call unit_programs,tests/kernels/test_*.c)
SIM     := $(call unit_programs,tests/sim/test_*.c)
CRASH   := $(call unit_programs,tests/crash/test_*.c)
test_link = @mkdir -p $(@D); echo "  link $@"; $(CC) $(LINK) $(filter %.o %.a,$^) $(1) -lcmocka $(LIBS_COMMON) -o $@
WORKER_HELPERS := $(patsubst %.c,$(OUT)/%.o,$(filter-out tests/unit/worker/test_%,$(wildcard tests/unit/worker/*.c tests/fuzz/worker/*.c)))

$(OUT)/tests/unit/common/%:  $(OUT)/tests/unit/common/%.o $(OUT)/common.a;                  $(call test_link,-ljansson)
$(OUT)/tests/unit/broker/%:  $(OUT)/tests/unit/broker/%.o $(OUT)/broker.a $(OUT)/common.a;  $(call test_link,$(LIBS_BROKER))
$(OUT)/tests/unit/worker/%:  $(OUT)/tests/unit/worker/%.o $(WORKER_HELPERS) $(OUT)/worker.a $(OUT)/common.a;  $(call test_link,$(LIBS_WORKER))
$(OUT)/tests/unit/gateway/%: $(OUT)/tests/unit/gateway/%.o $(OUT)/gateway.a $(OUT)/common.a; $(call test_link,$(LIBS_GATEWAY))
$(OUT)/tests/unit/client/%:  $(OUT)/tests/unit/client/%.o $(OUT)/client.a $(OUT)/common.a;  $(call test_link,$(LIBS_CLIENT))
REPLAY := $(OUT)/tests/fuzz/replay.o
$(OUT)/tests/fuzz/common/replay_%:  $(OUT)/tests/fuzz/common/fuzz_%.o $(REPLAY) $(OUT)/common.a;                   $(call test_link,)
$(OUT)/tests/fuzz/broker/replay_%:  $(OUT)/tests/fuzz/broker/fuzz_%.o $(REPLAY) $(OUT)/broker.a $(OUT)/common.a;   $(call test_link,$(LIBS_BROKER))
$(OUT)/tests/fuzz/gateway/replay_%: $(OUT)/tests/fuzz/gateway/fuzz_%.o $(REPLAY) $(OUT)/gateway.a $(OUT)/common.a; $(call test_link,$(LIBS_GATEWAY))
$(OUT)/tests/fuzz/train/replay_%:   $(OUT)/tests/fuzz/train/fuzz_%.o $(REPLAY) $(OUT)/worker.a $(OUT)/common.a;    $(call test_link,$(LIBS_WORKER))
$(OUT)/tests/kernels/%:      $(OUT)/tests/kernels/%.o $(OUT)/worker.a $(OUT)/common.a;      $(call test_link,$(LIBS_WORKER))
$(OUT)/tests/bench/%:     $(OUT)/tests/bench/%.o $(OUT)/broker.a $(OUT)/common.a;      $(call test_link,)
BENCH_KERNELS := $(patsubst %,$(OUT)/tests/bench/%.o,bench_kernels work sampling peak ours peer_onednn peer_openblas peer_ort ort)
$(OUT)/tests/bench/bench_kernels: $(BENCH_KERNELS) $(OUT)/worker.a $(OUT)/common.a; $(call test_link,$(LIBS_WORKER) -ldnnl -lopenblas -ldl)
BENCH_MODELS := $(patsubst %,$(OUT)/tests/bench/%.o,bench_models sampling peak ort)
$(OUT)/tests/bench/bench_models: $(BENCH_MODELS) $(OUT)/worker.a $(OUT)/common.a; $(call test_link,$(LIBS_WORKER) -ldl)
$(OUT)/tests/bench/peer_onednn.o: private OPENMP := $(OMP)
CRASH_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(filter-out tests/crash/test_%,$(wildcard tests/crash/*.c)))
$(OUT)/tests/crash/%: $(OUT)/tests/crash/%.o $(CRASH_OBJECTS) $(OUT)/gateway.a $(OUT)/common.a; $(call test_link,-Wl$(comma)--wrap=http_reply_json$(comma)--wrap=http_reply_bytes$(comma)--wrap=ledger_commit $(LIBS_GATEWAY) -ldl)

# The simulator: each role's program, joined with its driver into one object that shows nothing but
# struct sim_role (programs share names), over a libzmq, clocks and a daemon of the simulator's.
SIM_DIR    := $(OUT)/tests/sim
SIM_WORLD  := $(patsubst %,$(SIM_DIR)/%.o,sim sim_fault sim_history sim_net sim_system sim_zmq)
SIM_SYSTEM := clock_mono_ns clock_wall_ms random_u64 id_random id_new net_kick net_received net_delivered \
	daemon_signal_fd daemon_endpoint daemon_drain
sim_drivers = $(patsubst %,$(SIM_DIR)/%.o,sim_$(1) $(if $(filter worker,$(1)),sim_runner))
sim_role    = @echo "  join $@"; $(LD) -r --wrap=body_take --wrap=body_free -o $@.part $^ && \
	objcopy $(patsubst %,--keep-global-symbol=%,$(1)) $@.part $@ && rm $@.part
$(SIM_DIR)/common.a: $(OUT)/common.a; $(Q)objcopy $(patsubst %,--weaken-symbol=%,$(SIM_SYSTEM)) $< $@
$(SIM_DIR)/role_broker.o:  $(call sim_drivers,broker) $(OUT)/broker.a;   $(call sim_role,sim_broker)
$(SIM_DIR)/role_gateway.o: $(call sim_drivers,gateway) $(OUT)/gateway.a; $(call sim_role,sim_gateway)
$(SIM_DIR)/role_worker.o:  $(call sim_drivers,worker) $(OUT)/worker.a;   $(call sim_role,sim_worker runner_event runner_fault)
$(SIM_DIR)/%: $(SIM_DIR)/%.o $(SIM_WORLD) $(patsubst %,$(SIM_DIR)/role_%.o,broker gateway worker) $(SIM_DIR)/common.a
	$(call test_link,-ljansson)

# Once more with the mistakes of mutations.def in copies of the sources, ahead of the archives.
SIM_LIST    := tests/sim/mutations.def
SIM_MUTATED := $(patsubst %.c,$(SIM_DIR)/mutated/%.o,$(sort $(shell sed -n 's/^= [^ ]*  \([^ ]*\)  .*/\1/p' $(SIM_LIST))))
sim_mutated  = $(filter $(SIM_DIR)/mutated/$(1)/%,$(SIM_MUTATED))
$(OUT)/gen/mutants.h: tests/sim/mutate $(SIM_LIST) $(patsubst $(SIM_DIR)/mutated/%.o,%.c,$(SIM_MUTATED))
	$(call say,mutate $(SIM_LIST))
	$(Q)mkdir -p $(@D) && tests/sim/mutate $(SIM_LIST) $(SIM_DIR)/mutated $@
$(SIM_MUTATED): $(OUT)/gen/mutants.h
	$(call say,cc $(@:.o=.c))
	$(Q)$(CC) $(BASE) $(CFLAGS) -c $(@:.o=.c) -o $@
$(SIM_DIR)/test_sim_mutants.o: $(OUT)/gen/mutants.h
$(SIM_DIR)/mutated/broker.o:  $(call sim_drivers,broker) $(call sim_mutated,broker) $(OUT)/broker.a;    $(call sim_role,sim_broker)
$(SIM_DIR)/mutated/gateway.o: $(call sim_drivers,gateway) $(call sim_mutated,gateway) $(OUT)/gateway.a; $(call sim_role,sim_gateway)
$(SIM_DIR)/mutated/worker.o:  $(call sim_drivers,worker) $(call sim_mutated,worker) $(OUT)/worker.a;    $(call sim_role,sim_worker runner_event runner_fault)
$(SIM_DIR)/test_sim_mutants: $(SIM_DIR)/test_sim_mutants.o $(SIM_WORLD) $(patsubst %,$(SIM_DIR)/mutated/%.o,broker gateway worker) $(SIM_DIR)/common.a
	$(call test_link,-ljansson)

.PHONY: test test-unit test-kernels test-sim test-crash test-fleet test-asan test-nodes test-clients
.PHONY: unit-programs kernel-programs sim-programs crash-programs
unit-programs:   $(UNIT); @:
kernel-programs: $(KERNELS); @:
sim-programs:    $(SIM); @:
crash-programs:  $(CRASH); @:

# Fleet tests start real processes, from the folder that CONVOY_BIN names.
FLEET     := $(sort $(wildcard tests/fleet/test_*.py))
CHAOS     := $(sort $(wildcard tests/chaos/test_*.py))
BAD_INPUT := $(foreach file,$(FLEET),$(if $(findstring _bad_,$(file)),$(file)))
run_with   = CONVOY_BIN=$(abspath $(1))
# TSan takes the barriers of gcc's OpenMP library for races: one thread there. clang's library is
# known to it, through Archer and the second option.
TSAN    := 'TSAN_OPTIONS=suppressions=$(abspath tests/tsan.supp) ignore_noninstrumented_modules=$(if $(COMPILER),1,0)'
SAN_ENV := $(if $(findstring thread,$(SAN)),$(TSAN) $(if $(COMPILER),,OMP_THREAD_LIMIT=1))
RUNNER   = tests/run $(SAN_ENV) $(call run_with,$(BIN))

# The same sources once more under ASan and UBSan: unit, simulator and bad input.
ASAN_OUT := build/$(COMPILER)address-undefined
ASAN      = $(call run_with,$(ASAN_OUT)/bin) $(patsubst $(OUT)/%,$(ASAN_OUT)/%,$(UNIT) $(SIM)) $(BAD_INPUT)
asan_goals := SAN=address,undefined all unit-programs sim-programs

test:
	$(call build_for,test chaos,all unit-programs kernel-programs sim-programs crash-programs)
	$(if $(SAN),,$(call build_for,test,$(asan_goals)))
	@$(RUNNER) $(UNIT) $(KERNELS) $(SIM) $(CRASH) $(FLEET) $(CHAOS) $(if $(SAN),,$(ASAN))
test-unit:
	$(call build_for,test,unit-programs)
	@$(RUNNER) $(UNIT)
test-kernels:
	$(call build_for,test,kernel-programs)
	@$(RUNNER) $(KERNELS)
test-sim:
	$(call build_for,test,sim-programs)
	@$(RUNNER) $(SIM)
test-crash:
	$(call build_for,test,crash-programs)
	@$(RUNNER) $(CRASH)
SEED   ?= 1
EVENTS ?= 1000000
.PHONY: sim
sim:
	$(call build_for,test,$(SIM_DIR)/test_sim_fleet)
	@$(SIM_DIR)/test_sim_fleet $(SEED) $(EVENTS) $(RUNS)
test-fleet:
	$(call build_for,test,all)
	@$(RUNNER) $(FLEET)
test-asan:
	$(call build_for,test,$(asan_goals))
	@tests/run $(ASAN)
test-nodes:
	$(call build_for,nodes,all)
	@$(RUNNER) $(sort $(wildcard tests/nodes/test_*.py))
test-clients:
	$(call build_for,clients,all)
	@build/venv/bin/python tests/run $(call run_with,$(BIN)) $(sort $(wildcard tests/clients/test_*.py))

# --- a whole fleet under faults -----------------------------------------------------------------
DURATION_S ?=
SEED       ?=
ROWS       ?= 1000000
chaos_run = $(call run_with,$(BIN)) tests/chaos/run $(1) $(if $(DURATION_S),--duration $(DURATION_S)) \
	$(if $(SEED),--seed $(SEED))
.PHONY: test-chaos chaos chaos-rate chaos-million
test-chaos:
	$(call build_for,chaos,all)
	@$(RUNNER) $(CHAOS)
chaos:
	$(call build_for,chaos,all)
	@$(call chaos_run,chaos)
chaos-rate:
	$(call build_for,chaos,all)
	@$(call chaos_run,rate)
chaos-million:
	$(call build_for,chaos,all)
	@$(call chaos_run,million) --rows $(ROWS)

# --- the engine against others' models ----------------------------------------------------------
# libFuzzer comes with clang. A target is tests/fuzz/ROLE/fuzz_NAME.c, its seeds are in
# tests/fuzz/corpus/NAME, what it finds goes into build/fuzz/NAME. TARGET=NAME: this one alone.
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*/fuzz_*.c))
FUZZ_OUT     := build/clang-fuzzer-no-link-address-undefined/tests/fuzz
FUZZ_CHOSEN  := $(patsubst %,$(FUZZ_OUT)/%,$(filter %/fuzz_$(or $(TARGET),%),$(FUZZ_TARGETS)))
FUZZ_LINK     = @mkdir -p $(@D); echo "  link $@"; $(CC) $(LINK) -fsanitize=fuzzer $^ $(1) $(LIBS_COMMON) -o $@
EXECUTIONS   ?= 1000000
.PHONY: fuzz
fuzz:
	$(if $(FUZZ_CHOSEN),,$(error no target $(TARGET); there are: $(patsubst fuzz_%,%,$(notdir $(FUZZ_TARGETS)))))
	$(call build_for,fuzz,CC=clang SAN=fuzzer-no-link$(comma)address$(comma)undefined $(FUZZ_CHOSEN))
	@tests/fuzz/run $(EXECUTIONS) $(FUZZ_CHOSEN)
$(OUT)/tests/fuzz/common/fuzz_%:  $(OUT)/tests/fuzz/common/fuzz_%.o $(OUT)/common.a;                  $(call FUZZ_LINK,)
$(OUT)/tests/fuzz/broker/fuzz_%:  $(OUT)/tests/fuzz/broker/fuzz_%.o $(OUT)/broker.a $(OUT)/common.a;  $(call FUZZ_LINK,$(LIBS_BROKER))
$(OUT)/tests/fuzz/gateway/fuzz_%: $(OUT)/tests/fuzz/gateway/fuzz_%.o $(OUT)/gateway.a $(OUT)/common.a; $(call FUZZ_LINK,$(LIBS_GATEWAY))
$(OUT)/tests/fuzz/worker/fuzz_%:  $(OUT)/tests/fuzz/worker/fuzz_%.o $(OUT)/worker.a $(OUT)/common.a;  $(call FUZZ_LINK,$(LIBS_WORKER))
$(OUT)/tests/fuzz/train/fuzz_%:   $(OUT)/tests/fuzz/train/fuzz_%.o $(OUT)/worker.a $(OUT)/common.a;   $(call FUZZ_LINK,$(LIBS_WORKER))

# Spin's verifier over tests/model/convoy.pml: RUN=NAME for one of its runs.
.PHONY: check-model
check-model:
	@deploy/setup check-model
	@tests/model/run build/model $(RUN)

.PHONY: conformance assets-check exports-check architecture-check
conformance:
	$(call build_for,conformance,$(BIN)/convoy-run)
	@tests/conformance/run.py --run $(BIN)/convoy-run

# What every parameter is and its default, as the programs themselves say.
.PHONY: examples
examples:
	$(call build_for,build,all)
	@for role in broker gateway worker; do \
		env -i $(BIN)/convoy-$$role --print-config >deploy/$$role.conf.example || exit 1; \
	done

.PHONY: operators
operators:
	$(call build_for,build,$(BIN)/convoy-run)
	@$(BIN)/convoy-run --operators >worker/OPERATORS.md.part && mv worker/OPERATORS.md.part worker/OPERATORS.md
	@$(BIN)/convoy-run build --layers >worker/LAYERS.md.part && mv worker/LAYERS.md.part worker/LAYERS.md

.PHONY: limits
limits:
	$(call build_for,build,$(BIN)/convoy)
	@$(BIN)/convoy help limits >common/LIMITS.md.part && mv common/LIMITS.md.part common/LIMITS.md

ASSETS ?= ../shared/assets
assets-check:
	$(call build_for,assets-check,$(BIN)/convoy-run)
	@tests/check_assets.py $(ASSETS) --run $(BIN)/convoy-run

TORCH   ?= /usr/bin/python3
EXPORTS := build/exports
exports-check:
	$(call build_for,exports-check,$(BIN)/convoy-run)
	@rm -rf $(EXPORTS) && $(TORCH) tests/exports/export.py $(EXPORTS)
	@build/venv-exports/bin/python tests/exports/check.py $(EXPORTS) --run $(BIN)/convoy-run

# An LSTM and a GRU on first names, beside the same program in PyTorch; THREADS=n.
.PHONY: train-names train-check
train-check:
	$(call build_for,train-check,$(BIN)/convoy-run)
	@build/venv-bench/bin/python tests/train/founding.py $(BIN)/convoy-run build/train-check --threads $(or $(THREADS),1)
train-names:
	$(call build_for,train-names,$(BIN)/convoy-run)
	@$(TORCH) tests/train/names.py $(BIN)/convoy-run build/train-names --threads $(or $(THREADS),1)

architecture-check:
	$(call build_for,architecture-check,$(BIN)/convoy-run)
	@build/venv-architecture/bin/python tests/architecture/check.py --run $(BIN)/convoy-run $(WRITE)

# --- the fleet at work --------------------------------------------------------------------------
demo:
	$(call build_for,demo,all)
	@$(call run_with,$(BIN)) tests/demo
bench:
	$(call build_for,bench,all)
	@$(call run_with,$(BIN)) tests/bench/run

FABRIC := $(patsubst %,$(OUT)/tests/bench/%,bench_core bench_fabric bench_proxy bench_scale)
.PHONY: bench-broker bench-scale fabric-programs
fabric-programs: $(FABRIC); @:
bench-broker:
	$(call build_for,build,$(BIN)/convoy-broker fabric-programs)
	@tests/bench/broker.py $(OUT)/tests/bench $(BIN)/convoy-broker
bench-scale:
	$(call build_for,build,$(BIN)/convoy-broker fabric-programs)
	@$(OUT)/tests/bench/bench_scale $(BIN)/convoy-broker

# Our kernels beside oneDNN, onnxruntime and OpenBLAS: all layers, or those whose name, goal or batch
# FILTER is a part of; PEERS=no: ours alone; THREADS=1: not both; FORCE=avx2: an instruction set.
.PHONY: bench-kernels bench-models bench-programs
bench-programs: $(OUT)/tests/bench/bench_kernels $(OUT)/tests/bench/bench_models; @:
bench-kernels:
	$(call build_for,bench,bench-programs)
	@build/venv-bench/bin/python tests/bench/kernels.py $(OUT)/tests/bench/bench_kernels \
		--filter '$(FILTER)' $(if $(filter no,$(PEERS)),--no-peers) --threads $(or $(THREADS),1$(comma)2) \
		--isa $(or $(FORCE),auto)
bench-models:
	$(call build_for,bench,bench-programs)
	@build/venv-bench/bin/python tests/bench/models.py $(OUT)/tests/bench/bench_models \
		--filter '$(FILTER)' --threads $(or $(THREADS),1$(comma)2) --isa $(or $(FORCE),auto) \
		$(if $(wildcard $(ASSETS)),--assets $(ASSETS))

# One epoch each, a quarter of an hour in all; WORKS=, BATCHES=, THREADS=: some of them.
.PHONY: bench-train
bench-train:
	$(call build_for,bench-train,$(BIN)/convoy-run)
	@$(TORCH) tests/bench/train.py $(BIN)/convoy-run --torch $(TORCH) --tensorflow build/venv-architecture/bin/python \
		--works $(or $(WORKS),seed_cnn$(comma)lstm$(comma)gru) --batches $(or $(BATCHES),32$(comma)128) \
		--threads $(or $(THREADS),1$(comma)2) --turns $(or $(TURNS),1)

# --- rules of the house -------------------------------------------------------------------------
tidy:
	$(call build_for,tidy,$(OUT)/gen/onnx.pb-c.h $(OUT)/gen/page.inc $(OUT)/gen/mutants.h)
	@tests/tidy $(OUT)/gen
layers:
	@deploy/setup layers
	@tests/layers

# --- installation -------------------------------------------------------------------------------
DOCS     := $(wildcard README.md LICENSE common/PROTOCOL.md common/LIMITS.md broker/SCHEDULING.md worker/KERNELS.md worker/OPERATORS.md worker/LAYERS.md worker/TRAINING.md)
EXAMPLES := $(wildcard deploy/Containerfile deploy/*.md deploy/*.conf.example tests/data/fashion_cnn.onnx tests/data/seed_cnn.json)
SHARE     = $(DESTDIR)$(PREFIX)/share/doc/convoy
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(SHARE)/examples
	install $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(DOCS) $(SHARE)
	install -m 644 $(EXAMPLES) $(SHARE)/examples
	for unit in deploy/*.service; do \
		sed 's,/usr/local/bin,$(PREFIX)/bin,' $$unit >$(SHARE)/examples/$$(basename $$unit) || exit 1; \
	done

clean:
	rm -rf build

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
