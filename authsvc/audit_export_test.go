package authsvc

import "context"

// AuditSum is the hash that the row with a number should have as it stands in the database now.
func AuditSum(ctx context.Context, s *Store, seq int64) (string, error) {
	rows, err := s.auditRows(ctx, s.db, selectAudit+` WHERE seq = ?`, seq)
	if err != nil || len(rows) != 1 {
		return "", err
	}
	return rows[0].sum(), nil
}

// RunLimits are what tests of the audit trail and the error log must know.
const (
	MaxAuditJSON     = maxAuditJSON
	MaxPendingErrors = maxPendingErrors
	SearchRows       = searchRows
)

// Clip is clip.
func Clip(text string, limit int) string { return clip(text, limit) }
