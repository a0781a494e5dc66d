package wire

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	pb "github.com/doorstep-dev/doorstep/proto/doorstep/v1"

	"github.com/doorstep-dev/doorstep/pkg/failure"
)

var (
	disableReasons = newNames(map[failure.DisableReason]pb.DisableReason{
		failure.DisabledByStreak: pb.DisableReason_DISABLE_REASON_FAIL_STREAK,
		failure.DisabledByGone:   pb.DisableReason_DISABLE_REASON_GONE,
	})
	noticeKinds = newNames(map[failure.NoticeKind]pb.NoticeKind{
		failure.NoticeWarning: pb.NoticeKind_NOTICE_KIND_WARNING, failure.NoticeDisabled: pb.NoticeKind_NOTICE_KIND_DISABLED,
		failure.NoticeGone: pb.NoticeKind_NOTICE_KIND_GONE, failure.NoticeMailed: pb.NoticeKind_NOTICE_KIND_MAILED,
		failure.NoticeExpiry: pb.NoticeKind_NOTICE_KIND_EXPIRY,
	})
	mailResults = newNames(map[failure.MailResult]pb.MailResult{
		failure.MailSent: pb.MailResult_MAIL_RESULT_SENT, failure.MailKept: pb.MailResult_MAIL_RESULT_KEPT,
		failure.MailFailed: pb.MailResult_MAIL_RESULT_FAILED,
	})
)

// State is the record of a webhook's failure state.
func State(topic string, s failure.State) (*kgo.Record, error) {
	return kindState.record(topic, s.WebhookID, stateToProto(s))
}

// ReadState decodes a record of `states`. It errs if the record must go to quarantine.
func ReadState(r *kgo.Record) (failure.State, error) {
	var m pb.StateRecord
	if err := kindState.read(r, &m); err != nil {
		return failure.State{}, err
	}
	return stateFromProto(&m), nil
}

// EncodeState is the value of a webhook's state in Redis. The same state always gives the same bytes.
func EncodeState(s failure.State) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(stateToProto(s))
	if err != nil {
		return nil, fmt.Errorf("encode state of webhook %s: %w", s.WebhookID, err)
	}
	return b, nil
}

// DecodeState reads what EncodeState wrote.
func DecodeState(b []byte) (failure.State, error) {
	var m pb.StateRecord
	if err := proto.Unmarshal(b, &m); err != nil {
		return failure.State{}, fmt.Errorf("state of %d bytes does not decode", len(b))
	}
	return stateFromProto(&m), nil
}

func stateToProto(s failure.State) *pb.StateRecord {
	m := &pb.StateRecord{
		WebhookId: s.WebhookID, Tenant: s.Tenant, Generation: s.Generation, Version: s.Version,
		FailStreak:          uint32(s.FailStreak), //nolint:gosec // never negative, and disabled long before it is large
		FailStreakStartedAt: nanos(s.FailStreakStartedAt), LastFailedAt: nanos(s.LastFailedAt),
		LastFailureAt: nanos(s.LastFailureAt), FailureCount: s.FailureCount, LastSuccessAt: nanos(s.LastSuccessAt),
		Disabled: s.Disabled, DisabledAt: nanos(s.DisabledAt), DisableReason: disableReasons.to[s.DisableReason],
		DisabledUntil: nanos(s.DisabledUntil), WarnedAt: nanos(s.WarnedAt),
		LastStatusCode: uint32(s.LastStatusCode), //nolint:gosec // 0 to 999
		LastError:      strings.ToValidUTF8(s.LastError, "?"),
	}
	for _, n := range s.PendingNotices {
		m.PendingNotices = append(m.PendingNotices, noticeToProto(n))
	}
	if len(s.Unknown) > 0 {
		m.ProtoReflect().SetUnknown(s.Unknown)
	}
	return m
}

func stateFromProto(m *pb.StateRecord) failure.State {
	s := failure.State{
		WebhookID: m.WebhookId, Tenant: m.Tenant, Generation: m.Generation, Version: m.Version,
		FailStreak: int(m.FailStreak), FailStreakStartedAt: at(m.FailStreakStartedAt), LastFailedAt: at(m.LastFailedAt),
		LastFailureAt: at(m.LastFailureAt), FailureCount: m.FailureCount, LastSuccessAt: at(m.LastSuccessAt),
		Disabled: m.Disabled, DisabledAt: at(m.DisabledAt), DisableReason: disableReasons.from[m.DisableReason],
		DisabledUntil: at(m.DisabledUntil), WarnedAt: at(m.WarnedAt),
		LastStatusCode: int(m.LastStatusCode), LastError: m.LastError,
		Unknown: m.ProtoReflect().GetUnknown(),
	}
	for _, n := range m.PendingNotices {
		s.PendingNotices = append(s.PendingNotices, noticeFromProto(n))
	}
	return s
}

// Notice is the record of a notice.
func Notice(topic string, n failure.Notice) (*kgo.Record, error) {
	return kindNotice.record(topic, n.WebhookID, noticeToProto(n))
}

// ReadNotice decodes a record of `notices`. It errs if the record must go to quarantine.
func ReadNotice(r *kgo.Record) (failure.Notice, error) {
	var m pb.NoticeRecord
	if err := kindNotice.read(r, &m); err != nil {
		return failure.Notice{}, err
	}
	return noticeFromProto(&m), nil
}

func noticeToProto(n failure.Notice) *pb.NoticeRecord {
	return &pb.NoticeRecord{
		Id: n.ID, Kind: noticeKinds.to[n.Kind], Tenant: n.Tenant, WebhookId: n.WebhookID, Generation: n.Generation,
		FailStreak:          uint32(n.FailStreak), //nolint:gosec // never negative
		FailStreakStartedAt: nanos(n.FailStreakStartedAt), RaisedAt: nanos(n.RaisedAt),
		LastStatusCode: uint32(n.LastStatusCode), //nolint:gosec // 0 to 999
		LastError:      strings.ToValidUTF8(n.LastError, "?"),
		NoticeId:       n.NoticeID, MailTo: n.MailTo, MailedAt: nanos(n.MailedAt),
		NoticeKind: noticeKinds.to[n.NoticeKind], AdministratorId: n.AdministratorID, MailResult: mailResults.to[n.MailResult],
		MailError: strings.ToValidUTF8(n.MailError, "?"), MailSubject: strings.ToValidUTF8(n.MailSubject, "?"),
		MailText: strings.ToValidUTF8(n.MailText, "?"),
		Expiring: uint32(n.Expiring), ExpiresAt: nanos(n.ExpiresAt), //nolint:gosec // never negative
	}
}

func noticeFromProto(m *pb.NoticeRecord) failure.Notice {
	return failure.Notice{
		ID: m.Id, Kind: noticeKinds.from[m.Kind], Tenant: m.Tenant, WebhookID: m.WebhookId, Generation: m.Generation,
		FailStreak: int(m.FailStreak), FailStreakStartedAt: at(m.FailStreakStartedAt), RaisedAt: at(m.RaisedAt),
		LastStatusCode: int(m.LastStatusCode), LastError: m.LastError,
		NoticeID: m.NoticeId, MailTo: m.MailTo, MailedAt: at(m.MailedAt),
		NoticeKind: noticeKinds.from[m.NoticeKind], AdministratorID: m.AdministratorId, MailResult: mailResults.from[m.MailResult],
		MailError: m.MailError, MailSubject: m.MailSubject, MailText: m.MailText,
		Expiring: int(m.Expiring), ExpiresAt: at(m.ExpiresAt),
	}
}
