package logfiles

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
)

// Place is where a group of readers is on a partition: the offset that it wants next, and what it noted
// beside it.
type Place struct {
	Group     string  `json:"g"`
	Topic     string  `json:"t"`
	Partition int32   `json:"p,omitempty"`
	Offset    int64   `json:"o,omitempty"`
	Metadata  *string `json:"m,omitempty"`
}

// A journal's entry (kfake's persist.go): the length of what follows its checksum, that, a version, JSON; little endian.
const (
	entryHead    = 10
	entryVersion = 1
	maxEntry     = 1 << 20
)

// entryAt is the length of the entry at the start of raw, 0 if there is none.
func entryAt(raw []byte) int {
	if len(raw) < entryHead {
		return 0
	}
	length := int(binary.LittleEndian.Uint32(raw))
	if length < 2 || length > maxEntry || 8+length > len(raw) ||
		checksum(raw[8:8+length]) != binary.LittleEndian.Uint32(raw[4:]) || binary.LittleEndian.Uint16(raw[8:]) != entryVersion {
		return 0
	}
	return 8 + length
}

func entry(data []byte) []byte {
	b := make([]byte, entryHead, entryHead+len(data))
	b = append(b, data...)
	binary.LittleEndian.PutUint32(b, uint32(2+len(data))) //nolint:gosec // below maxEntry
	binary.LittleEndian.PutUint16(b[8:], entryVersion)
	binary.LittleEndian.PutUint32(b[4:], checksum(b[8:]))
	return b
}

// entries are the whole entries of a journal, and how many bytes of it are none. After damage it goes on
// at the next whole entry.
func entries(raw []byte) (whole [][]byte, lost int) {
	for len(raw) > 0 {
		n := entryAt(raw)
		if n == 0 {
			raw, lost = raw[1:], lost+1
			continue
		}
		whole, raw = append(whole, raw[:n]), raw[n:]
	}
	return whole, lost
}

// mendJournals takes damaged entries out of the groups' and the producers' journals. Readers whose places are gone
// get those that were noted last; begun says that the log has records.
func (m *mender) mendJournals(begun bool) error {
	pids := filepath.Join(m.log, "pids.log")
	if _, _, err := m.mendJournal(pids); err != nil {
		return err
	}
	groups := filepath.Join(m.log, "groups.log")
	kept, lost, err := m.mendJournal(groups)
	if err != nil {
		return err
	}
	m.places = placesOf(kept)
	if lost == 0 && (len(m.places) > 0 || !begun) {
		return nil
	}
	return m.putPlacesBack(groups, kept)
}

// mendJournal takes out what is no entry, and returns the entries and how many bytes went. A missing journal is empty.
func (m *mender) mendJournal(file string) (kept [][]byte, lost int, err error) {
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, err
	}
	kept, lost = entries(raw)
	if lost == 0 {
		return kept, 0, nil
	}
	m.tell(false, "%s: took out %d bytes of damaged or unfinished entries", m.short(file), lost)
	return kept, lost, replace(file, slices.Concat(kept...))
}

// putPlacesBack appends the places that were noted last and are further than what the journal still says.
func (m *mender) putPlacesBack(file string, kept [][]byte) error {
	type key struct {
		group, topic string
		partition    int32
	}
	at := make(map[key]int64)
	for _, p := range m.places {
		at[key{p.Group, p.Topic, p.Partition}] = p.Offset
	}
	back := 0
	for _, p := range m.known.Places {
		if offset, ok := at[key{p.Group, p.Topic, p.Partition}]; ok && offset >= p.Offset {
			continue
		}
		data, err := json.Marshal(struct {
			Type string `json:"type"`
			Place
		}{"commit", p})
		if err != nil {
			return err
		}
		kept, back = append(kept, entry(data)), back+1
	}
	if back > 0 {
		m.tell(false, "%s: %d places of readers are put back as they were last noted; what was done since is done again", m.short(file), back)
		m.places = placesOf(kept)
		return replace(file, slices.Concat(kept...))
	}
	// The broker makes the journal before anything else.
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		m.tell(false, "%s: was missing, and no note says where readers were; what the log still holds is done again", m.short(file))
	}
	return nil
}

// placesOf are the places that a journal leads to.
func placesOf(journal [][]byte) []Place {
	type key struct {
		group, topic string
		partition    int32
	}
	last := make(map[key]Place)
	for _, e := range journal {
		var line struct {
			Type string `json:"type"`
			Place
		}
		if json.Unmarshal(e[entryHead:], &line) != nil {
			continue
		}
		k := key{line.Group, line.Topic, line.Partition}
		switch line.Type {
		case "commit":
			last[k] = line.Place
		case "delete":
			delete(last, k)
		}
	}
	all := make([]Place, 0, len(last))
	for _, p := range last {
		all = append(all, p)
	}
	return all
}
