package logfiles

import (
	"encoding/binary"
	"errors"
	"os"
)

// Index entries, one for each batch (kfake's persist.go): version, checksum, epoch, a time that is not
// read, and whether the batch was written in a transaction.
const (
	indexEntry   = 15
	indexVersion = 1
	indexInTx    = 14
)

// mendIndex writes the index of a segment anew where it does not fit the batches.
func (m *mender) mendIndex(dir string, base int64, batches []Batch) error {
	file := indexFile(dir, base)
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if indexFits(raw, batches) {
		return nil
	}
	if err != nil && len(batches) == 0 {
		return nil // no index for no batch
	}
	m.tell(false, "%s: did not fit its segment, and is made anew", m.short(file))
	return m.writeIndex(file, batches)
}

func (m *mender) writeIndex(file string, batches []Batch) error {
	var out []byte
	for _, b := range batches {
		entry := make([]byte, indexEntry)
		entry[0] = indexVersion
		if b.transactional && !b.Control {
			entry[indexInTx] = 1
		}
		entry[1] = byte(checksum(entry[2:])) //nolint:gosec // its lowest byte is what is kept
		out = append(out, entry...)
	}
	return replace(file, out)
}

func indexFits(raw []byte, batches []Batch) bool {
	if len(raw) != indexEntry*len(batches) {
		return false
	}
	for i, b := range batches {
		entry := raw[i*indexEntry:][:indexEntry]
		inTx := entry[indexInTx] == 1
		if entry[0] != indexVersion || entry[1] != byte(checksum(entry[2:])) || binary.LittleEndian.Uint32(entry[2:]) != 0 || //nolint:gosec // as above
			entry[indexInTx] > 1 || inTx && (b.Control || !b.transactional) {
			return false
		}
	}
	return true
}
