package option

import (
	"fmt"

	"go.uber.org/zap"
)

// Values resolves the values of a configuration's options. Its errors say where
// the option stands. An owner is such as "account shop".
type Values struct {
	Positions Positions
	Logger    *zap.Logger
}

// Resolve returns an option's value with its placeholders replaced.
func (v Values) Resolve(owner, option, value string) (string, error) {
	resolved, err := Resolve(option, value)
	if err != nil {
		return "", v.Wrong(owner, option, err)
	}
	return resolved, nil
}

// Wrong returns what is wrong with an option, and where that stands.
func (v Values) Wrong(owner, option string, err error) error {
	return fmt.Errorf("%w%s", err, v.Positions.Of(owner, option))
}

// WarnOfLiteral warns of a secret that stands in the configuration itself.
func (v Values) WarnOfLiteral(owner, option, value string) {
	if !HasPlaceholder(value) {
		v.Logger.Warn("a secret stands in the configuration itself, where it can be read: write a placeholder such as {env.WEIXIN_SECRET}",
			zap.String("of", owner), zap.String("option", option))
	}
}
