package store

// CheckRedisURL refuses what NewRedisClient would, for a URL without placeholders.
// Its errors repeat nothing of the URL.
func CheckRedisURL(rawURL string) error {
	_, err := parseRedisURL(rawURL)
	return err
}
