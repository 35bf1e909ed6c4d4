# experiment.mk - one experiment as a make file: photographs to a scored network, each step redone only when what it needs changed.
#
#   make -f pipelines/experiment.mk PHOTOS=photos OUT=exp1 SIZE=128 KIMG=1000
#   make -f pipelines/experiment.mk OUT=exp2 TRAIN='--gamma 2 --aug ada' MAX_FID=40     # fails when the score is worse
#
# A store or a run that was cut short continues where it was: pack-lmdb --resume, sg2-train in the same folder.
PHOTOS   ?= examples/photos
OUT      ?= build/experiment
SIZE     ?= 64
KIMG     ?= 10
SEEDS    ?= 0-999
TRAIN    ?= --mirror
FEATURES ?= dlib-face
MAX_FID  ?=

all: $(OUT)/score.json $(OUT)/report.html

$(OUT)/faces.lmdb/data.mdb: $(wildcard $(PHOTOS)/*)
	@mkdir -p $(OUT)
	face-align --size $(SIZE) --rejects $(OUT)/rejects.jsonl $(PHOTOS) | pack-lmdb --resume $(OUT)/faces.lmdb

$(OUT)/run/network-final.safetensors: $(OUT)/faces.lmdb/data.mdb
	sg2-train --data $(OUT)/faces.lmdb --out $(OUT)/run --kimg $(KIMG) $(TRAIN)

$(OUT)/score.json: $(OUT)/run/network-final.safetensors
	sg2-gen --network $< --seeds $(SEEDS) | \
		fid-score --features $(FEATURES) --ref $(OUT)/faces.lmdb --json $(if $(MAX_FID),--max-fid $(MAX_FID)) - > $@.tmp
	mv $@.tmp $@

$(OUT)/report.html: $(OUT)/score.json
	$(dir $(lastword $(MAKEFILE_LIST)))report.sh $(OUT)/run > $@

.PHONY: all
.DELETE_ON_ERROR:
